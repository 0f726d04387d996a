"""The table of groups at the end of a run and in `dlrun show`."""

from pathlib import Path
from typing import Any

from dlrun.console import Console
from dlrun.runs.run import Run
from dlrun.views.summary import _what_next, groups_table, metrics_table


def summary(**numbers: float) -> dict[str, Any]:
    """Of a run whose best epoch has these numbers and whose last has half of the recall."""
    last = {key: value / 2 if key.endswith("recall") else value for key, value in numbers.items()}
    test = {"trivial": {}, "untrained": {}, "last": last, "best": numbers}
    return {"test": test, "best": {"step": 7}, "dataset": "own", "positive": "face"}


def text(shown: Any) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


OLD = {
    "group/sex=old/n": 100.0, "group/sex=old/recall": 0.8, "group/sex=old/low": 0.711,
    "group/sex=old/high": 0.867, "group/sex=old/negatives": 50.0,
}  # fmt: skip
RATES = {"group/sex=old/precision": 0.75, "group/sex=old/false_positive_rate": 0.5}
EMPTY = {"group/sex=new/n": 0.0, "group/sex=new/negatives": 0.0}


def test_a_row_for_each_group() -> None:
    shown = text(groups_table(summary(**OLD, **RATES, **EMPTY)))
    assert "recall of face by group, test split" in shown and "false positives" in shown
    row = next(line for line in shown.splitlines() if "sex=old" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells == ["sex=old", "100", "0.400", "0.800", "0.711 - 0.867", "0.750", "0.500"]
    empty = next(line for line in shown.splitlines() if "sex=new" in line)
    assert "no images" in empty and empty.count(" - ") == 4


def test_where_negatives_have_no_group() -> None:
    shown = text(groups_table(summary(**OLD)))
    assert "negatives have no group" in " ".join(shown.split())
    assert "precision" not in shown.splitlines()[2]


def test_accuracy_and_no_groups_at_all() -> None:
    found = {"group/a=1/n": 3.0, "group/a=1/accuracy": 1.0, "group/a=1/low": 0.4}
    assert "accuracy by group" in text(groups_table(summary(**found, **{"group/a=1/high": 1.0})))
    assert groups_table(summary(accuracy=0.5)) is None


def test_the_large_table_leaves_single_groups_out() -> None:
    shown = text(metrics_table(summary(**OLD, worst_group_recall=0.8)))
    assert "worst group's recall" in shown and "sex=old" not in shown


def test_a_method_without_metrics_has_a_line_and_no_empty_table() -> None:
    assert metrics_table(summary()) == "test split: the method has no metrics there"


def test_commands_to_type_can_be_pasted(tmp_path: Path) -> None:
    lines = _what_next(Run(tmp_path / "my runs" / "own" / "vae" / "a b"))
    assert "  dlrun show 'a b'" in lines
    assert f"  tensorboard --logdir '{tmp_path}/my runs'" in lines
