"""One argument: what Hydra cannot read is text where text is expected, and a path is a path."""

from pathlib import Path
from typing import Any

import pytest

from dlrun.config.compose import compose, composer
from dlrun.config.schema import TrainConfig, check
from dlrun.config.values import repeated
from dlrun.errors import ConfigError
from dlrun.text import echo


def checked(*texts: str) -> TrainConfig:
    return check(*compose(texts, None), texts)


def problems(*texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(*compose(texts, None), texts)
    return caught.value.problems


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")


@pytest.mark.parametrize(
    "value",
    ["größe", "图", "it's", "R&D", "a=b", "(1)", "a(1)b", "[x", "{", "`x`", '"', "a;b", "!^<>",
     "a#b", "2024", "1e3", "007", "true", "[x]", "a  b", "1_000"],
)  # fmt: skip
def test_text_is_taken_as_it_stands(value: str) -> None:
    config = checked(f"outputs=./{value}\\", f"name={value}")
    assert (config.outputs, config.name) == (f"./{value}\\", value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("~/pictures", "/home/ada/pictures"),
        ("$HOME/x", "/home/ada/x"),
        ("'~/quoted'", "/home/ada/quoted"),
        ("a~b", "a~b"),
        ("$UNKNOWN_x/y", "$UNKNOWN_x/y"),
    ],
)
@pytest.mark.parametrize("key", ["outputs", "data_dir", "dataset.root", "dataset.attributes"])
def test_a_path_is_expanded(key: str, typed: str, meant: str) -> None:
    texts = [f"{key}={typed}", "dataset=image_folder"]
    config: Any = checked(*texts, *["dataset.root=."][: key != "dataset.root"])
    section, _, name = key.rpartition(".")
    assert getattr(config.dataset.options if section else config, name) == meant


def test_a_path_of_a_recipe_is_expanded(tmp_path: Path) -> None:
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    recipe = "# @package _global_\noutputs: ~/runs\nmodel: {init_from: ~/w.pt}\n"
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text(recipe)
    config = check(*compose(["method=supervised", "recipe=mine"], "conf"))
    assert config.outputs == "/home/ada/runs"
    assert config.model.options.init_from == "/home/ada/w.pt"


@pytest.mark.parametrize("name", ["a,b", "[x]", "{x:1}", "a,[b", "x=[1,2]", "lr=0.1", "it's"])
def test_what_exists_is_a_path_before_it_is_anything_else(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for value in (name, str(tmp_path / name)):
        assert checked(f"outputs={value}").outputs == value


def test_a_list_may_have_items_that_hydra_does_not_know() -> None:
    config = checked("dataset.domains=[Äpfel,it's]", "dataset=two_domains", "method=cyclegan")
    assert config.dataset.options.domains == ("Äpfel", "it's")


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("name=größe,b", ["größe", "b"]),
        ("name=choice(ä,'b,c')", ["ä", "b,c"]),
        ("name=it's", None),
        ("seed=0,1", [0, 1]),
    ],
)
def test_a_comma_stays_a_sweep(typed: str, values: list[Any] | None) -> None:
    with composer() as own:
        (override,), wrong = own.parse([typed], sweep=True)
    assert not wrong
    swept = override.value().list if override.is_sweep_override() else None
    texts = swept and [getattr(value, "text", value) for value in swept]
    assert texts == values


def test_where_no_text_is_expected_it_is_named() -> None:
    assert problems("epochs=3;", "seed=ü", "model.hidden=[1,2", "method.beta=[") == [
        "seed: got ü, expected an integer >= 0",
        "epochs: got 3;, expected an integer >= 1",
        "method.beta: got [, expected a number >= 0",
        "model.hidden: got [1,2, expected an integer >= 1",
    ]


def test_what_was_given_is_not_missing_too() -> None:
    needed = "several values are a sweep, which needs -m: dlrun train -m dataset.root=a,b"
    assert problems("dataset=image_folder", "dataset.root=a,b") == [
        f"dataset.root=a,b: {needed}; to give it as one text, write dataset.root=\"'...'\""
    ]


@pytest.mark.parametrize(
    "text",
    ["seed=" + "1" * 5000, "seed=[" + "1," * 50000, "seed=" + "[" * 2000, "seed=" + "[" * 50000,
     "a" * 100_000, "a" * 100_000 + "=3", "seed=" + "1" * 30, "optimizer.lr=1e999", "epochs=1e999",
     ".".join("a" * 900) + "=3", "batch_size=-" + "9" * 4000, "name=" + "ü" * 3000,
     "method=" + "x" * 3000, "\x1b[31m=3", "seed=\x1b[31m"],
)  # fmt: skip
def test_keys_numbers_and_lists_without_end_are_told_in_a_short_line(text: str) -> None:
    for problem in problems(text):
        assert len(problem) < 1000
        assert problem.isprintable()


def test_a_key_that_is_given_twice() -> None:
    assert repeated(["seed=1", "epochs=2", "seed=3"]) == ["seed is given 2 times; seed=3 counts"]


def test_echo() -> None:
    assert echo("a\x1bb\r\n\udcff") == r"a\x1bb\r\n\udcff"
    assert echo("x" * 80) == "x" * 80
    assert echo("x" * 81) == "x" * 60 + "…" + "x" * 19
