"""The report's parts: numbers, thinning, settings, escaping, pictures."""

import base64
import io
import json
import math
import random
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from run_folders import change_json, make_run, make_sweep

from dlrun.report import pictures as limits
from dlrun.report.charts import charts, thin
from dlrun.report.page import page
from dlrun.report.pictures import galleries, spaced
from dlrun.report.tables import Table, families, number, results
from dlrun.runs.groups import SeedGroup, by_seed, labelled
from dlrun.runs.run import Run
from dlrun.runs.statistics import spread


def runs_of(folder: Path) -> list[Run]:
    return [Run(path) for path in sorted(folder.iterdir())]


def groups_in(folder: Path) -> list[SeedGroup]:
    """The best first, as on the page."""
    return [group for family in families(labelled(by_seed(runs_of(folder)))) for group in family]


def page_of(run: Path, title: str = "run") -> str:
    return page([Run(run)], title)


def test_numbers_as_they_are_shown() -> None:
    assert number(spread([1.0, 2.0, 6.0]), ".1f") == "3.0 ± 2.6"
    assert number(spread([0.5]), ".3f") == "0.500"
    assert number(spread([1.0, math.nan]), ".3f") == "nan"
    assert number(None, ".3f") == "–"


# How fast long lists are drawn depends on what else the machine does.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values: list[float], most: int) -> None:
    kept = thin(values, values, most)
    assert kept == sorted(set(kept))
    assert len(kept) <= max(most, 4)
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    chosen = [values[i] for i in kept]
    assert (min(chosen), max(chosen)) == (min(values), max(values))


def test_a_spike_of_one_step_survives_in_a_long_run() -> None:
    noise = random.Random(0)
    values = [noise.random() for _ in range(20_000)]
    values[12_345] = 50.0
    assert 12_345 in thin(values, values, 100)


def test_the_best_setting_on_val_comes_first(tmp_path: Path) -> None:
    first, second = groups_in(make_sweep(tmp_path))
    assert (first.label, second.label) == ("optimizer.lr=0.1", "optimizer.lr=0.01")
    assert [len(first.runs), len(second.runs)] == [3, 3]
    best = first.test("best", "accuracy")
    assert best is not None and (best.mean, best.std) == pytest.approx((0.81, 0.01))


def test_of_a_loss_the_lowest_comes_first_and_what_has_no_result_last(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0.9, lr=1.0, key_metric="loss")
    make_run(tmp_path / "b", 0.2, lr=2.0, key_metric="loss")
    make_run(tmp_path / "c", None, lr=3.0)
    make_run(tmp_path / "d", math.nan, lr=4.0, key_metric="loss")
    names = [group.label for group in groups_in(tmp_path)]
    assert names[:2] == ["optimizer.lr=2.0", "optimizer.lr=1.0"]
    assert set(names[2:]) == {"optimizer.lr=3.0", "optimizer.lr=4.0"}


def test_charts_hold_the_key_metric_first_and_the_bands(tmp_path: Path) -> None:
    first, second = charts(groups_in(make_sweep(tmp_path)))
    assert (first["name"], first["arrow"]) == ("accuracy", "↑")
    assert second["name"] == "loss"
    series = first["series"][0]
    assert (series["group"], series["split"]) == (0, "val")
    assert series["steps"] == [10, 20, 30]
    assert series["seconds"] == [2.0, 3.0, 4.0]
    assert series["mean"][-1] == pytest.approx(0.81)
    assert (series["low"][-1], series["high"][-1]) == (0.8, 0.82)
    assert series["std"] == pytest.approx([0.0033333, 0.0066667, 0.01], rel=1e-3)
    assert series["n"] == 3


HOSTILE = "<script>alert(1)</script>\"'&</figure>"


def test_what_a_user_wrote_stays_text_in_the_whole_page(tmp_path: Path) -> None:
    # No slash: it could not be in a folder's name.
    name = "<script>alert(1)<img src=x onerror=alert(2)>"
    run = make_run(
        tmp_path / name, 0.5, state="failed", reason=HOSTILE, warnings=[HOSTILE], pictures=True
    )
    (run / "command.txt").write_text(f"2026-01-02 03:04:05 dlrun train name='{HOSTILE}'\n")
    (run / "log.txt").write_text(HOSTILE)
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 40, "time": 9.0, f"val/{HOSTILE}": 1.0}) + "\n")
    (run / "samples" / "<b>x-000001.png").write_bytes(
        (run / "samples" / "predictions-000010.png").read_bytes()
    )
    content = page_of(run, name)
    counts: dict[str, int] = {}

    class Counter(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            counts[tag] = counts.get(tag, 0) + 1
            assert not any(key.startswith("on") for key, _ in attrs)
            if tag == "img":
                assert (dict(attrs)["src"] or "").startswith("data:image/")
                assert dict(attrs)["alt"]

    Counter().feed(content)
    data = json.loads(content.partition('id="data">')[2].partition("</script>")[0])
    assert HOSTILE in [chart["name"] for chart in data["charts"]]
    assert counts["script"] == 2  # the data and the page's own
    assert counts["img"] == 4
    assert "b" not in counts


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    content = page(runs_of(make_sweep(tmp_path)), "sizes")
    without = content.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "http://" not in without
    assert "https://" not in without
    assert "default-src 'none'" in content


def test_an_unfinished_run_is_told_with_its_reason(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", None, state="failed", reason="train/loss is not finite at step 20"
    )
    content = page_of(run)
    assert "train/loss is not finite at step 20" in content
    assert "not evaluated on the test split" in content
    assert "dlrun resume" in content
    assert "val/accuracy" in content


def test_a_run_that_has_only_begun_makes_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", None, state="running", pictures=True)
    for path in [run / "metrics.jsonl", run / "command.txt", run / "provenance.json",
                 run / "status.json", *(run / "samples").iterdir()]:  # fmt: skip
        path.unlink()
    assert "not evaluated" in page_of(run)


def test_spaced_takes_the_first_and_the_last() -> None:
    assert spaced(list(range(0, 101, 10)), 3) == [0, 50, 100]
    assert spaced([5, 7], 3) == [5, 7]


def test_pictures_are_many_and_large_and_still_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", 0.5, pictures=True)
    noise = random.Random(0)
    for step in range(100, 160):
        image = Image.frombytes("RGB", (150, 100), noise.randbytes(45_000))
        image.save(run / "samples" / f"samples-{step:06d}.png")
    monkeypatch.setattr(limits, "BYTES", 100_000)
    by_kind = {gallery.kind: gallery for gallery in galleries(groups_in(tmp_path))}
    (film,) = by_kind["samples"].films
    steps = [frame.step for frame in film.frames]
    assert len(steps) == limits.STEPS
    assert (steps[0], steps[-1]) == (100, 159)
    assert {(frame.width, frame.height) for frame in film.frames} == {(150, 100)}
    contents = [base64.b64decode(frame.source.partition(",")[2]) for frame in film.frames]
    assert sum(map(len, contents)) < 100_000
    assert Image.open(io.BytesIO(contents[0])).format == "WEBP"


def test_enlarged_pictures_are_stored_small_without_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", 0.5, steps=(10,), pictures=True)
    small = Image.frombytes("L", (101, 60), random.Random(0).randbytes(6060))
    large = small.resize((202, 120), Image.Resampling.NEAREST)
    path = run / "samples" / "samples-000010.png"
    large.save(path, compress_level=0)
    monkeypatch.setattr(limits, "BYTES", 2 * 13_000)
    found = {g.kind: g for g in galleries(groups_in(tmp_path))}["samples"]
    (frame,) = found.films[0].frames
    kept = Image.open(io.BytesIO(base64.b64decode(frame.source.partition(",")[2])))
    assert kept.size == (101, 60)
    assert kept.convert("L").tobytes() == small.tobytes()
    assert (frame.width, frame.height) == (202, 120)


def test_equal_pictures_are_shown_once_and_damaged_ones_told(tmp_path: Path) -> None:
    for name, epochs in (("0.1", 1), ("0.2", 2)):
        make_run(tmp_path / name, 0.5, pictures=True, config={"epochs": epochs})
    broken = tmp_path / "0.2" / "samples" / "samples-000010.png"
    broken.write_bytes(b"\x89PNG no more")
    first, second = galleries(groups_in(tmp_path))
    assert [film.same for film in first.films] == [2]
    assert (second.films, second.damaged) == ((), (str(broken),))


def test_groups_of_images_are_bars_the_worst_first(tmp_path: Path) -> None:
    numbers = {
        "accuracy": 0.7, "worst_group_recall": 0.25,
        "group/gender=male/recall": 0.75, "group/gender=male/n": 40, "group/gender=male/low": 0.6,
        "group/gender=male/high": 0.86, "group/gender=<i>/recall": 0.25, "group/gender=<i>/n": 8,
        "group/gender=none/n": 0,
    }  # fmt: skip
    run = make_run(tmp_path / "run", 0.7, test=numbers)
    content = page_of(run)
    bars = content.partition('class="bars"')[2].partition("<details>")[0]
    names = [part.partition("<")[0] for part in bars.split("<strong>")[1:]]
    assert names == ["gender=&lt;i&gt;", "gender=male", "gender=none"]
    assert "width:75.00%" in bars
    assert "left:60.00%;width:26.00%" in bars
    assert "8 images" in bars
    assert bars.count('class="fill"') == 2


def test_numbers_of_two_data_sets_are_not_ranked_with_each_other(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0.5)
    make_run(tmp_path / "b", 0.9, config={"dataset.name": "cifar10"})
    make_run(tmp_path / "c", None, lr=0.7, state="failed", reason="out of memory")
    content = page(runs_of(tmp_path), "both")
    assert content.count('class="hero"') == 2
    assert "accuracy ↑ on cifar10, the best on val first" in content
    assert "accuracy ↑ on fashion_mini, the best on val first" in content
    assert "Of 2 settings" not in content


def test_of_too_many_runs_the_best_keep_their_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lr in (0.1, 0.2, 0.3):
        make_run(tmp_path / str(lr), lr, lr=lr, steps=(10, 20, 30, 40), pictures=True)
    monkeypatch.setattr(limits, "COUNT", 6)
    (gallery,) = galleries(groups_in(tmp_path))
    assert [film.label for film in gallery.films] == ["optimizer.lr=0.3", "optimizer.lr=0.2"]
    assert gallery.steps == (10, 30, 40)
    assert gallery.left_out == 1
    content = page(runs_of(tmp_path), "many")
    assert "1 more run with such pictures not shown" in content


def test_what_does_not_count_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "old", 0.1, started=1.0)
    make_run(tmp_path / "new", 0.7, started=2.0)
    make_run(tmp_path / "cut", 0.2, seed=1, state="interrupted")
    make_run(tmp_path / "other", 0.9, seed=2)
    content = page(runs_of(tmp_path), "r")
    assert "0.800 ± 0.141" in content
    assert "Only complete runs are counted. Duplicate seeds, ignored: old." in content
    assert "completed, duplicate seed" in content


def test_networks_of_a_distillation_are_in_one_table(tmp_path: Path) -> None:
    for seed in (0, 1):
        student = {"last": 0.5 + seed / 10, "best": 0.6, "parameters": 1000}
        networks = {"teacher": {"last": None, "best": 0.9}, "student": student}
        make_run(tmp_path / str(seed), seed=seed, networks=networks)
    *_, table = results(groups_in(tmp_path))
    assert isinstance(table, Table) and list(table.head[:2]) == ["network", "last"]
    assert [list(row) for row in table.rows] == [
        ["teacher", "–", "0.9000 ± 0.0000", "as student", "as student"],
        ["student", "0.5500 ± 0.0707", "0.6000 ± 0.0000", "1,000", "as student"],
    ]


def test_an_untrained_network_is_one_sample_for_all_settings_that_train_it(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for seed, accuracy in ((0, 0.1), (1, 0.2)):
            path = make_run(tmp_path / f"{lr}-{seed}", lr=lr, seed=seed)
            tested = json.loads((path / "summary.json").read_text())["test"]
            change_json(path / "summary.json", test=tested | {"untrained": {"accuracy": accuracy}})
    table = next(t for t in results(groups_in(tmp_path)) if "Every metric" in t.folded)
    (row,) = [row for row in table.rows if row[0] == "(untrained)"]
    assert row[1] == "0.150 ± 0.071"  # of two values, not of four
