"""What TAB offers: the answers, and bash itself with the script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.commands import VERBS
from dlrun.commands.completion import complete


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dlrun ", list(VERBS)),
        ("dlrun s", ["show", "sample"]),
        ("dlrun predict last ", []),  # then bash completes files
        ("dlrun embed --pi", ["--picture"]),
        ("dlrun train method=",
         ["method=autoencoder", "method=byol", "method=capsnet", "method=cyclegan", "method=dbvae",
          "method=distill", "method=multitask", "method=siamese", "method=supervised",
          "method=vae"]),
        ("dlrun train method=s", ["method=siamese", "method=supervised"]),
        ("dlrun train method=su", ["method=supervised"]),
        ("dlrun train -m method=vae,", ["method=vae,autoencoder", "method=vae,byol",
                                        "method=vae,capsnet",
                                        "method=vae,cyclegan", "method=vae,dbvae",
                                        "method=vae,distill", "method=vae,multitask",
                                        "method=vae,siamese", "method=vae,supervised",
                                        "method=vae,vae"]),
        ("dlrun train -m method=vae,b", ["method=vae,byol"]),
        ("dlrun train method=x", []),
        ("dlrun train me", ["method="]),
        ("dlrun train s", ["schedule=", "seed=", "steps="]),
        ("dlrun train method=byol epochs=3 sched", ["schedule="]),
        ("dlrun train optimizer.", ["optimizer.betas=", "optimizer.clip_norm=", "optimizer.eps=",
                                    "optimizer.lr=", "optimizer.weight_decay="]),
        ("dlrun train optimizer=sgd optimizer.", ["optimizer.clip_norm=", "optimizer.dampening=",
                                                  "optimizer.lr=", "optimizer.maximize=",
                                                  "optimizer.momentum=", "optimizer.nesterov=",
                                                  "optimizer.weight_decay="]),
        ("dlrun train method=byol method.t", ["method.target_projector=", "method.tau="]),
        ("dlrun train method=cyclegan method.discriminator.",
         ["method.discriminator.layers=", "method.discriminator.width="]),
        ("dlrun train method=cyclegan model@method.discriminator=patch",
         ["model@method.discriminator=patchgan", "model@method.discriminator=patchgan16",
          "model@method.discriminator=patchgan34"]),
        ("dlrun train method=distill model@method.teacher_model=wrn4",
         ["model@method.teacher_model=wrn40_2"]),
        ("dlrun train method=multitask loss@method.value_loss=hu",
         ["loss@method.value_loss=huber"]),
        ("dlrun train method=byol optimizer@method.probe_optimizer=adamw method.probe_optimizer.b",
         ["method.probe_optimizer.betas="]),
        ("dlrun train dataset=image_folder dataset.r", ["dataset.root="]),
        ("dlrun train dataset=image_folder dataset.root=", []),  # then bash completes files
        ("dlrun train seed=", ["seed=0"]),
        ("dlrun train seed=0", []),
        ("dlrun train dataset.domains=", ["dataset.domains='[Sneaker, Ankle boot]'"]),
        ("dlrun train name='a b' seed=1,2 epoc", ["epochs="]),
        ("dlrun train method=byoll optimizer.l", ["optimizer.lr="]),
        ("dlrun train --c", ["--cfg", "--config-dir"]),
        ("dlrun ls --",
         ["--csv", "--help", "--json", "--limit", "--outputs", "--reverse", "--sort"]),
        ("dlrun completion ", ["bash"]),
        ("dlrun nope ", []),
        ("dlrun train name='a ", []),
        ("dlrun resume ", []),
        ("dlrun", []),
    ],
)  # fmt: skip
def test_the_answers(line: str, words: list[str]) -> None:
    assert complete(line) == words


def test_the_top_level_keys_and_the_groups_at_first() -> None:
    words = complete("dlrun train ")
    assert {"method=", "model=", "loss=", "dataset=", "hardware=", "epochs=", "name="} <= set(words)
    assert all(word.endswith("=") and "." not in word for word in words)
    assert words == sorted(set(words))


def test_the_own_options_of_the_user(folder: Path) -> None:
    for conf in ("conf", "elsewhere"):
        (folder / conf / "method").mkdir(parents=True)
        (folder / conf / f"method/{conf}_mine.yaml").write_text("name: my_file:Mine\nsize: 3\n")
    assert complete("dlrun train method=conf") == ["method=conf_mine"]
    assert complete("dlrun train method=conf_mine method.") == ["method.size="]
    assert complete("dlrun train --config-dir elsewhere method=e") == ["method=elsewhere_mine"]


def test_the_names_of_runs(folder: Path) -> None:
    for outputs in ("outputs", "other"):
        for number in (1, 2):
            run = folder / outputs / "mnist" / "vae" / f"26010{number}-101500-{outputs}"
            run.mkdir(parents=True)
            for file in ("config.yaml", "status.json"):
                (run / file).touch()
            os.utime(run / "config.yaml", (number, number))
    names = ["260101-101500-outputs", "260102-101500-outputs"]
    assert complete("dlrun resume ") == [*names, "last"]
    assert complete("dlrun show 260102") == names[1:]
    assert complete("dlrun show la") == ["last"]
    assert complete("dlrun show --outputs other 260101") == ["260101-101500-other"]


BASH = """
eval "$(dlrun completion bash)"
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _dlrun
    (IFS='|'; echo "${COMPREPLY[*]}")
done
complete -p dlrun
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_itself(folder: Path) -> None:
    """A word is cut at = and @, of which bash wants what follows."""
    script = folder / "dlrun"  # of this interpreter, whatever else is on the path
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dlrun "$@"\n')
    script.chmod(0o755)
    lines = {
        "dlrun trai": "train",
        "dlrun train method=s": "siamese|supervised",
        "dlrun train method=su": "supervised",
        "dlrun train -m method=vae,b": "vae,byol",
        "dlrun train method=cyclegan model@method.discriminator=patchgan3": "patchgan34",
        "dlrun train model@method.discriminator": "",
        "dlrun train dataset.domains=": "'[Sneaker, Ankle boot]'",
        "dlrun train epo": "epochs=",
    }
    result = subprocess.run(
        ["bash", "--norc", "-c", BASH],
        input="\n".join([*lines, ""]),
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    *answers, registered = result.stdout.splitlines()
    assert answers == list(lines.values())
    assert registered == "complete -o default -o nospace -F _dlrun dlrun"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_only_what_stands_before_the_cursor_counts(folder: Path) -> None:
    script = 'dlrun() { echo "$DLRUN_LINE" >&2; }; eval "$(cat)"; '
    script += 'COMP_LINE="dlrun train method=s seed=1"; COMP_POINT=20; _dlrun'
    from dlrun.commands.completion import _BASH

    result = subprocess.run(
        ["bash", "--norc", "-c", script], input=_BASH.replace("2>/dev/null", ""),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stderr == "dlrun train method=s\n"
