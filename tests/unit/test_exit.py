"""Standard streams that are closed, full, gone or of an old encoding; Python's own files hidden."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = "from dlrun.exit import run_and_exit; from dlrun.console import Console; import os, sys; "
SAYS = f"{RUN}run_and_exit(lambda: Console().say('accuracy \\u2191', *sys.argv[1:]) or 0"


def shell(script: str, *command: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """The exit code, the output and the errors of a script of bash, in which "$@" is Python."""
    done = subprocess.run(
        ["bash", "-c", script, "--", sys.executable, *command],
        cwd=cwd, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nowhere_and_no_file_takes_their_place(closed: str) -> None:
    code = (
        f"{RUN}run_and_exit(lambda: print('out') or print('error', file=sys.stderr) or "
        "int(open(os.devnull).fileno() <= 2 or sys.stdin.read() != ''))"
    )
    done = shell(f'"$@" {closed}', "-c", code)
    out, error = ("" if f" {sign}" in f" {closed}" else f"{text}\n"
                  for sign, text in ((">&-", "out"), ("2>&-", "error")))  # fmt: skip
    assert done == (0, out, error)


@pytest.mark.parametrize(
    "environment",
    ["PYTHONIOENCODING=latin-1", "PYTHONIOENCODING=ascii:surrogateescape",
     "LC_ALL=POSIX PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"],
)  # fmt: skip
def test_what_an_encoding_lacks_becomes_a_question_mark(environment: str) -> None:
    assert shell(f'{environment} "$@"', "-c", f"{SAYS})") == (0, "accuracy ?\n", "")


def test_a_name_that_is_no_utf8_is_printed() -> None:
    done = shell('"$@" $(printf "caf\\xe9")', "-c", f"{SAYS})")
    assert done == (0, "accuracy ↑\ncaf\\udce9\n", "")


@pytest.mark.parametrize(
    ("keeps_on", "to", "expected"),
    [
        (False, "> /dev/full", (1, "dlrun: standard output: No space left on device\n")),
        (True, "> /dev/full", (0, "")),
        (False, "| true; exit ${PIPESTATUS[0]}", (0, "")),
        (True, "| true; exit ${PIPESTATUS[0]}", (0, "")),
    ],
)
def test_output_that_nobody_takes(keeps_on: bool, to: str, expected: tuple[int, str]) -> None:
    code = f"{RUN}run_and_exit(lambda: print('x' * 10**6) or 0, keeps_on={keeps_on})"
    done = shell(f'"$@" {to}', "-c", code)  # more than a pipe holds
    assert (done[0], done[2]) == expected


def test_standard_error_that_is_full_is_no_failure() -> None:
    code = f"{RUN}run_and_exit(lambda: print('aside', file=sys.stderr) or print('done') or 0)"
    assert shell('"$@" 2> /dev/full', "-c", code) == (0, "done\n", "")


@pytest.mark.parametrize("name", ["random.py", "typing.py", "logging.py", "queue.py", "torch.py"])
def test_a_users_file_does_not_hide_pythons_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("raise SystemExit('the user\\'s')")
    code, out, error = shell('"$@"', "-m", "dlrun", "ls", "--help", cwd=tmp_path)
    assert (code, "the user's" in out + error) == (0, False), out + error
