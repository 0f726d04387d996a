"""A run as its folder says it, and the walk that finds runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import run_folders

from dlrun.cli import run as dlrun
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import Run, runs_below


def make_run(path: Path, seed: int = 0, **options: object) -> Path:
    run_folders.make_run(path, seed=seed, **options)  # type: ignore[arg-type]
    os.utime(path / "config.yaml", (1000 + seed, 1000 + seed))
    return path


def names(outputs: Path) -> list[str]:
    return [run.name for run in runs_below(outputs)]


def test_runs_are_found_oldest_first_and_what_is_being_deleted_is_not(tmp_path: Path) -> None:
    make_run(tmp_path / "d" / "m" / "new", 2)
    make_run(tmp_path / "sweeps" / "s" / "old", 1)
    make_run(tmp_path / "sweeps" / "s" / ".removed-x", 0)
    make_run(tmp_path / "d" / "m" / "new" / "samples" / "inside", 0)
    (tmp_path / "claimed").mkdir()
    (tmp_path / "no_status").mkdir()
    (tmp_path / "no_status" / "config.yaml").write_text("method: {name: vae}\n")
    assert names(tmp_path) == ["old", "new"]
    assert names(tmp_path / "sweeps") == ["old"]
    assert names(tmp_path / "d" / "m" / "new") == ["new"]
    assert names(tmp_path / "nothing") == []


def test_jobs_that_sweeps_share_are_found_by_their_links_and_once(tmp_path: Path) -> None:
    first = make_run(tmp_path / "sweeps" / "a" / "job0", 0)
    make_run(tmp_path / "sweeps" / "b" / "job1", 1)
    link = tmp_path / "sweeps" / "b" / "job0"
    link.symlink_to(Path("..") / "a" / "job0")
    assert names(tmp_path) == names(tmp_path / "sweeps" / "b") == ["job0", "job1"]
    assert [run.links for run in runs_below(tmp_path)] == [(link,), ()]
    for folder in (tmp_path, tmp_path / "sweeps" / "b"):
        assert runs_below(folder)[0].path == first
    (tmp_path / "elsewhere").symlink_to(tmp_path / "sweeps")
    assert names(tmp_path) == ["job0", "job1"]
    through = runs_below(tmp_path / "elsewhere")  # a link that was given itself
    assert [run.path.parts[-3:] for run in through] == [
        ("elsewhere", "a", "job0"), ("elsewhere", "b", "job1"),
    ]  # fmt: skip


def test_links_that_lead_nowhere_or_in_circles_are_harmless(tmp_path: Path) -> None:
    sweep = make_run(tmp_path / "sweeps" / "a" / "job0").parent
    (sweep / "gone").symlink_to(tmp_path / "nothing")
    (sweep / "up").symlink_to(tmp_path)
    (sweep / "itself").symlink_to(sweep / "itself")
    (sweep / "file").symlink_to(sweep / "job0" / "config.yaml")
    assert names(tmp_path) == ["job0"]


def test_a_damaged_run_says_what_is_wrong(tmp_path: Path) -> None:
    (make_run(tmp_path / "bad_status", 0) / "status.json").write_text('{"state": "runn')
    (make_run(tmp_path / "bad_config", 1) / "config.yaml").write_text("a: [")
    (make_run(tmp_path / "no_numbers", 2) / "summary.json").write_text("[]")
    runs = runs_below(tmp_path)
    assert {(run.name, run.state, run.reason) for run in runs} == {
        ("bad_status", "unknown", "status.json cannot be read"),
        ("bad_config", "completed", "config.yaml cannot be read"),
        ("no_numbers", "completed", ""),
    }
    assert [run.config for run in runs if run.name == "bad_config"] == [{}]
    empty = next(run for run in runs if run.name == "no_numbers")
    assert (empty.best_val, empty.key_metric, empty.test("best")) == (None, None, {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("status.json", text) for text in (
            '{"step": 1e400}', '{"total": Infinity}', '{"started": null}', '{"started": 1e308}',
            '{"started": NaN}', '{"state": ["x"]}', "[" * 100_000, '{"a":' * 100_000,
        )),
        *(("metrics.jsonl", text) for text in (
            "5", "{}", "null", "\udcff\udcfe", '{"step": NaN, "time": 1}', "[" * 100_000,
            '{"step": 1, "time": 1, "val/accuracy": "x"}',
        )),
        *(("summary.json", text) for text in ('{"test": 5}', '{"best": []}', '{"key_metric": 1}')),
        *(("provenance.json", text) for text in ('{"data": 5}', '{"packages": []}', "[" * 100_000)),
    ],
    ids=range(21),
)  # fmt: skip
def test_an_odd_file_stops_no_view(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    for seed in (0, 1):
        make_run(tmp_path / "outputs" / f"r{seed}", seed=seed)
    path = tmp_path / "outputs" / "r0" / name
    if content.startswith("{") and name == "status.json":  # a right one but for this
        content = path.read_text()[:-1] + ", " + content[1:]
    path.write_text(content, errors="surrogateescape")
    for words in ("ls", "leaderboard", "gc", "compare outputs", "show outputs/r0",
                  "report outputs", "report outputs/r0"):  # fmt: skip
        assert dlrun(words.split()) == 0, words


def test_its_numbers_by_measure(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "r", accuracy=0.5, val=[0.4, 0.6, 0.55],
        test={"kl": 2, "kl/00": 1.0, "kid[net@12]/prior": 0.3},
    )  # fmt: skip
    measures = {str(key): value for key, value in Run(path).measures.items()}
    assert measures == {
        "test/best/accuracy": 0.5, "test/best/kl": 2.0, "test/last/accuracy": 0.49,
        "test/last/kl": 2.0, "test/best/kid[net@12]/prior": 0.3,
        "test/last/kid[net@12]/prior": 0.3, "val/best/accuracy": 0.6, "val/last/accuracy": 0.55,
    }  # fmt: skip
    values = Run(path).values()
    assert values["test.kid[net@12].prior"] == 0.3 and "test.kl/00" not in values
    assert Run(path).history["val/accuracy"] == {10: (1.0, 0.4), 20: (2.0, 0.6), 30: (3.0, 0.55)}


# --- the copy of the config in JSON ---------------------------------------------------------------

PLAIN = {"method": {"name": "vae", "beta": 1e-05}, "name": None, "sizes": [3, 4], "on": True}


def test_the_copy_of_the_config_spares_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "r")
    folder.prepare(PLAIN)
    fail = lambda path: pytest.fail("YAML was read")  # noqa: E731
    monkeypatch.setattr("dlrun.runs.folder.load_plain_yaml", fail)
    assert folder.read_config() == PLAIN
    assert Run(folder.path).config == {
        "method.name": "vae", "method.beta": 1e-05, "name": None, "sizes": [3, 4], "on": True,
    }  # fmt: skip


def test_config_yaml_is_the_truth(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r")
    folder.prepare(PLAIN)
    stat = folder.config.stat()
    folder.config.write_text(folder.config.read_text().replace("vae", "gan"))
    os.utime(folder.config, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # of the same size and age
    assert folder.read_config()["method"]["name"] == "gan"
    folder.prepare(PLAIN)
    for damage in ("", "{", "[]", '{"crc32": 1}'):
        folder.parsed.write_text(damage)
        assert folder.read_config()["method"] == {"name": "gan", "beta": 1e-05}
    folder.parsed.unlink()
    assert folder.read_config()["method"] == {"name": "gan", "beta": 1e-05}


def test_listing_imports_neither_torch_nor_hydra(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "outputs" / "r0")
    folder.prepare(PLAIN)
    folder.status.write_text(json.dumps({"state": "completed"}))
    code = (
        "import sys; from dlrun.cli import run; run(['ls', '--outputs', sys.argv[1]]); "
        "print(sorted({'torch', 'hydra', 'numpy', 'omegaconf'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "outputs")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
