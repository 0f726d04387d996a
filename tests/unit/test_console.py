"""The console prints text as it is, whatever rich would read in it."""

import logging

import pytest

from dlrun.console import Console, log_to


def test_lines_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Console().say("[red]kid[cnn64@1a]/prior[/red] 0.5", "x" * 300)
    assert capsys.readouterr().out == f"[red]kid[cnn64@1a]/prior[/red] 0.5\n{'x' * 300}\n"


def test_to_standard_error_or_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    Console(stderr=True).say("aside")
    Console(quiet=True).say("unheard")
    assert capsys.readouterr() == ("", "aside\n")


def test_the_log_goes_to_the_console_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        log_to(Console())
    logging.getLogger("dlrun").info("decoded %d of [%d] images", 3, 9)
    logging.getLogger("dlrun").debug("not for people")
    assert capsys.readouterr() == ("decoded 3 of [9] images\n", "")


@pytest.mark.parametrize(
    ("environment", "bar"), [({}, True), ({"TERM": "dumb"}, False), ({"TERM": "unknown"}, False)]
)
def test_a_bar_is_for_terminals_that_can_move_a_cursor(
    environment: dict[str, str], bar: bool
) -> None:
    console = Console(force_terminal=True, _environ={"TERM": "xterm", **environment})
    assert console.is_interactive == bar


def test_colour_into_a_file_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not Console().is_interactive
