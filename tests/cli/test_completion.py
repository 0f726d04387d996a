"""What TAB offers: the answers, and the shells themselves with their scripts."""

import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.commands.completion import SCRIPTS, complete
from dlrun.commands.parsers import VERBS, parser_of


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
         ["--all", "--csv", "--help", "--json", "--limit", "--outputs", "--reverse", "--sort"]),
        ("dlrun completion ", ["bash", "zsh", "fish"]),
        ("dlrun embed last --picture ", ["pca", "tsne", "umap"]),
        ("dlrun export last --format onnx t", ["torchvision", "torch_export"]),
        ("dlrun gc failed e", ["empty"]),
        ("dlrun sample last -",
         ["--device", "--help", "--out", "--outputs", "--seed", "--single", "--which", "-n"]),
        ("dlrun tune method=su", ["method=supervised"]),
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


def test_every_flag_and_choice_is_offered() -> None:
    """The candidates are those of the parsers: no verb has a list of its own."""
    for verb in VERBS:
        for action in parser_of(verb).arguments:
            if action.option_strings:
                flag = max(action.option_strings, key=len)
                assert flag in complete(f"dlrun {verb} {flag[:2]}"), (verb, flag)
                if action.choices:
                    assert complete(f"dlrun {verb} {flag} ") == list(action.choices)


LINES = {
    "dlrun trai": ["train"],
    "dlrun train method=s": ["method=siamese", "method=supervised"],
    "dlrun train -m method=vae,b": ["method=vae,byol"],
    "dlrun train method=cyclegan model@method.discriminator=patchgan3":
        ["model@method.discriminator=patchgan34"],
    "dlrun train dataset.domains=": ["dataset.domains='[Sneaker, Ankle boot]'"],
    "dlrun train epo": ["epochs="],
    "dlrun train dataset.root=pic": ["dataset.root=pictures/"],
    "dlrun predict last pic": ["pictures/"],
}  # fmt: skip
"""Command lines, and what their last words may become."""


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """With a `dlrun` of this interpreter, whatever else is on the path, and a folder pictures/."""
    (folder / "bin").mkdir()
    (folder / "pictures").mkdir()
    script = folder / "bin" / "dlrun"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dlrun "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


def has(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


BASH = """
eval "$(dlrun completion bash)"
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _dlrun
    (IFS='|'; echo "${COMPREPLY[*]}")
done
complete -p dlrun
"""


@has("bash")
def test_bash(environment: dict[str, str]) -> None:
    """A word is cut at = and @, of which bash wants what follows; it completes files itself."""
    result = subprocess.run(
        ["bash", "--norc", "-c", BASH], input="".join(f"{line}\n" for line in LINES),
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    *answers, registered = result.stdout.splitlines()
    for (line, words), answer in zip(LINES.items(), answers, strict=True):
        cut = [word.rpartition("=")[2] if not word.endswith("=") else word for word in words]
        assert answer == ("|".join(cut) if "pictures/" not in cut else ""), line
    assert registered == "complete -o default -o nospace -F _dlrun dlrun"


@has("bash")
def test_only_what_is_before_the_cursor_counts() -> None:
    script = 'dlrun() { echo "$DLRUN_LINE" >&2; }; eval "$(cat)"; '
    script += 'COMP_LINE="dlrun train method=s seed=1"; COMP_POINT=20; _dlrun'
    result = subprocess.run(
        ["bash", "--norc", "-c", script], input=SCRIPTS["bash"].replace("2>/dev/null", ""),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stderr == "dlrun train method=s\n"


@has("fish")
def test_fish(environment: dict[str, str]) -> None:
    asked = "".join(f"complete -C {shlex.quote(line)}; echo\n" for line in LINES)
    result = subprocess.run(
        ["fish", "--no-config", "-c", f"dlrun completion fish | source\n{asked}"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    answers = [block.split("\n") for block in result.stdout.split("\n\n")[:-1]]
    assert answers == list(LINES.values())


@has("zsh")
def test_zsh(environment: dict[str, str], folder: Path) -> None:
    """As typed in a terminal: a TAB after each line, and the edited line into a file."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**environment, "TERM": "dumb"})
    buffer = folder / "buffer"
    setup = (
        'eval "$(dlrun completion zsh)"; keep() { print -rn -- $BUFFER > new && mv new buffer; '
        "zle kill-buffer }; zle -N keep; bindkey '^O' keep; touch buffer\n"
    )
    try:
        os.write(terminal, setup.encode())
        read_until(terminal, buffer.exists)
        for line, words in LINES.items():
            buffer.unlink()
            os.write(terminal, f"{line}\t\x0f".encode())
            read_until(terminal, buffer.exists)
            whole = f"{line.rpartition(' ')[0]} {words[0]}"
            whole += "" if whole.endswith(("=", "/")) else " "
            assert buffer.read_text() == (whole if len(words) == 1 else line)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def read_until(terminal: int, done: Callable[[], bool]) -> None:
    """Reads what a terminal shows, so that it does not wait, until something is done."""
    deadline = time.monotonic() + 60
    shown = b""
    while not done():
        assert time.monotonic() < deadline, shown.decode(errors="replace")
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 65536)
