"""From composed YAML to the frozen configuration and back, for all that is shipped."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from dlrun import registry
from dlrun.config import schema as check_module
from dlrun.config import signature as signature_module
from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check, check_without_torch, combination_problems
from dlrun.config.signature import signature
from dlrun.config.typed import to_plain_types
from dlrun.data.batches import Batch
from dlrun.errors import ConfigError
from dlrun.methods.base import Method
from dlrun.options import Choice, Duration, Group
from dlrun.registry import lookup

CONF = Path(str(files("dlrun.conf")))
DECODERS = {("model", "mlp_decoder"), ("model", "conv_decoder")}
"""No method on board uses them, but a user's own GAN does: docs/your-own.md."""
OPTIONS = sorted({(path.parent.name, path.stem) for path in CONF.glob("*/*.yaml")} - DECODERS)
METHODS = [option for group, option in OPTIONS if group == "method"]
ENCODERS = (
    "cnn or mlp or resnet110 or resnet18 or resnet20 or resnet32 or resnet32x4 or resnet34 or "
    "resnet44 or resnet50 or resnet56 or resnet8 or resnet8x4 or torchvision or tutorial_student "
    "or tutorial_teacher or vgg13 or vgg8 or wrn16_2 or wrn40_2"
)
NEEDS = {
    "image_folder": ["dataset.root=somewhere"],
    "torchvision": ["model.arch=resnet18"],
    "horse_to_deer": ["dataset.root=somewhere"],
    "faces_dbvae": ["dataset.root=somewhere"],
}  # what has to be given with an option


def shipped(path: str) -> Any:
    """What a file of conf/ says."""
    return OmegaConf.load(CONF / f"{path}.yaml")


@cache
def composed(*overrides: str) -> dict[str, Any]:
    return compose_plain(list(overrides), None)


def plain(*overrides: str) -> dict[str, Any]:
    """A copy that a test may change."""
    copy: dict[str, Any] = json.loads(json.dumps(composed(*overrides)))
    return copy


def problems(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(config)
    return caught.value.problems


def overrides_for(group: str, option: str) -> list[str]:
    """A command line that makes use of one shipped option."""
    if group not in ("model", "loss"):
        return [f"{group}={option}", *NEEDS.get(option, [])]
    kinds = check_module._kinds(lookup(group, shipped(f"{group}/{option}").name))
    for method in METHODS:
        cls = lookup("method", shipped(f"method/{method}").method.name)
        if getattr(cls, f"{group}_kind") in kinds:
            return [f"method={method}", f"{group}={option}", *NEEDS.get(option, [])]
    return ["method=cyclegan", f"{group}@method.discriminator={option}"]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_shipped_option_passes_and_survives_its_run_folder(group: str, option: str) -> None:
    """As YAML in config.yaml, and from there to the same types, values and signature."""
    given_values = plain(*overrides_for(group, option))
    config = check(given_values)
    if group in ("method", "optimizer", "schedule", "dataset"):
        section = shipped(f"{group}/{option}")
        assert (
            getattr(config, group).name == (section.method if group == "method" else section).name
        )
    written = to_plain_types(config)
    read = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(written))))
    assert check(read) == config
    assert to_plain_types(check(read)) == written
    assert signature(read) == signature(written)
    assert written.keys() == given_values.keys()


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 2**63 - 1),
    epochs=st.integers(1, 10**9),
    steps=st.one_of(st.none(), st.integers(1, 10**9)),
    lr=st.floats(1e-300, 1e300),
    every=st.sampled_from([7, "7", "2 epochs", "12.5%", "0.001 epochs"]),
    name=st.one_of(st.none(), st.text("ab c-_1é", min_size=1, max_size=9)),
)
def test_any_values_survive(
    seed: int, epochs: int, steps: int | None, lr: float, every: int | str, name: str | None
) -> None:
    values = plain()
    values |= {"seed": seed, "epochs": epochs, "steps": steps, "eval_every": every, "name": name}
    values["optimizer"]["lr"] = lr
    config = check(values)
    assert (config.seed, config.epochs, config.steps, config.name) == (seed, epochs, steps, name)
    assert config.optimizer.options.lr == lr
    assert config.eval_every == Duration.parse(every)
    assert check(to_plain_types(config)) == config


def config_classes() -> Iterator[type]:
    """Every dataclass that types a part of the configuration."""
    roots = [TrainConfig]
    for group, classes in registry._BUILT_IN.items():
        roots += [lookup(group, name).Config for name in classes]
    seen: set[type] = set()
    while roots:
        cls = roots.pop()
        if cls in seen or cls in (Choice, Duration):
            continue
        seen.add(cls)
        yield cls
        for hint in get_type_hints(cls).values():
            parts = [hint, *getattr(hint, "__args__", ())]
            roots += [part for part in parts if dataclasses.is_dataclass(part)]


def test_every_config_is_frozen_and_has_its_values_in_conf_only() -> None:
    classes = list(config_classes())
    assert len(classes) > 10
    for cls in classes:
        assert cls.__dataclass_params__.frozen, cls.__qualname__  # type: ignore[attr-defined]
        for field in dataclasses.fields(cls):
            assert field.default is dataclasses.MISSING, f"{cls.__qualname__}.{field.name}"
            assert field.default_factory is dataclasses.MISSING, f"{cls.__qualname__}.{field.name}"


def test_every_mistake_at_once() -> None:
    values = plain("dataset=image_folder")
    values |= {"seed": -1, "epochs": 1.5, "eval_every": "3 parsecs", "sede": 1, "name": "a/b"}
    values["optimizer"] |= {"lr": 0, "betas": [0.9]}
    values["hardware"]["precision"] = "fp8"
    values["method"]["latent"] = 0
    values["model"] = plain("method=supervised", "model=resnet20")["model"]
    told = problems(values)
    assert told[0] == "sede: unknown key. Did you mean seed?"
    assert told[-1] == (
        "model=resnet20: method vae needs a model of kind autoencoder, this one is of kind "
        "encoder; expected conv_autoencoder or mlp_autoencoder"
    )
    assert sorted(told[1:-1]) == [
        "dataset.root: missing; give dataset.root=..., expected text (a path)",
        "epochs: got 1.5, expected an integer >= 1",
        "eval_every: got 3 parsecs, expected 500 (steps) or 2 epochs or 10%",
        "hardware.precision: got fp8, expected auto or fp32 or bf16 or fp16",
        "method.latent: got 0, expected an integer >= 1",
        "name: got a/b, expected text (at most 100 characters, no slash, no dot in front) or null",
        "optimizer.betas: got [0.9], expected [a number in [0, 1), a number in [0, 1)]",
        "optimizer.lr: got 0, expected a number > 0",
        "seed: got -1, expected an integer >= 0",
    ]


@pytest.mark.parametrize("name", ["..", ".hidden", "", "a/b", "a\\b", "a\nb", "x" * 101])
def test_a_run_name_stays_inside_of_its_folder(name: str) -> None:
    assert len(problems(plain() | {"name": name})) == 1


@pytest.mark.parametrize("key", ["outputs", "data_dir"])
def test_a_folder_needs_a_name(key: str) -> None:
    assert problems(plain() | {key: " "})[0].startswith(f"{key}: got ' ', expected text (a path)")


def test_the_bounds_of_a_crop_are_told_by_their_key() -> None:
    told = problems(plain("augment.first.crop=[1.0,0.5]"))
    assert len(told) == 1
    assert told[0].startswith("augment.first: ")
    assert "crop: got [1.0, 0.5], expected [least, most]" in told[0]


class TestCombinations:
    @pytest.mark.parametrize(
        ("overrides", "key", "needs", "has", "fitting"),
        [
            ([], "model=resnet56", "vae needs a model of kind autoencoder", "encoder",
             "conv_autoencoder or mlp_autoencoder"),
            (["model.width=3"], "model=resnet56", "vae needs a model of kind autoencoder",
             "encoder", "conv_autoencoder or mlp_autoencoder"),
            (["method=supervised"], "model=patchgan16", "supervised needs a model of kind encoder",
             "discriminator", ENCODERS),
            (["method=capsnet"], "loss=cross_entropy", "capsnet needs a loss of kind lengths",
             "logits", "margin"),
            (["method=distill"], "loss=focal", "distill needs a loss of kind distillation",
             "logits", "attention or dkd or hint or kd or kd_cosine or kd_cross_entropy or "
             "kd_standardized"),
            (["method=siamese"], "loss=huber", "siamese needs a loss of kind triplets",
             "logits and values", "contrastive or cosine_embedding or triplet"),
            (["method=multitask"], "loss@method.value_loss=focal",
             "multitask needs a loss of kind values", "logits",
             "absolute_error or huber or squared_error"),
        ],
    )  # fmt: skip
    def test_name_the_options_that_fit(
        self, overrides: list[str], key: str, needs: str, has: str, fitting: str
    ) -> None:
        assert problems(plain(*overrides, key)) == [
            f"{key}: method {needs}, this one is of kind {has}; expected {fitting}"
        ]

    def test_both_of_two(self) -> None:
        told = problems(plain("method=byol", "model=conv_autoencoder", "loss=bce"))
        assert [line.partition(":")[0] for line in told] == ["model=conv_autoencoder", "loss=bce"]

    def test_the_own_options_of_the_user_are_among_those_that_fit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "conf" / "model").mkdir(parents=True)
        (tmp_path / "conf/model/mine.yaml").write_text(
            "defaults: [mlp_autoencoder, _self_]\nhidden: [8]\n"
        )
        (tmp_path / "conf/model/broken.yaml").write_text("name: [")
        (tmp_path / "conf/model/list.yaml").write_text("- name\n")
        (tmp_path / "conf/model/empty.yaml").write_text("")
        (tmp_path / "conf/model/absent.yaml").write_text("name: nowhere:Net\n")
        monkeypatch.chdir(tmp_path)
        told = problems(plain("model=mlp"))
        assert told[0].endswith("expected conv_autoencoder or mine or mlp_autoencoder")

    @pytest.mark.parametrize(
        ("needs", "does_not"),
        [
            (["method=supervised"], ["method=byol"]),
            (["method=siamese", "method.positives=class"],
             ["method=siamese", "method.positives=view"]),
        ],
    )  # fmt: skip
    def test_a_data_set_without_labels(
        self, needs: list[str], does_not: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong, right = plain(*needs), plain(*does_not)
        monkeypatch.setattr(lookup("dataset", "fashion_mini"), "may_have_labels", False)
        assert problems(wrong) == [
            f"dataset=fashion_mini: method {needs[0][7:]} needs labels, this data set has none"
        ]
        check(right)

    @pytest.mark.parametrize("view", ["labelled", type("Undrawn", (Batch,), {})])
    def test_a_view_that_is_none(self, view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        values = plain()
        monkeypatch.setattr(lookup("method", "vae"), "view", view)
        assert problems(values) == [
            f"method.name: the view of vae is {view!r}; expected a class of dlrun.data.batches, "
            "such as Labelled, or one that has draw(batches, number)"
        ]

    def test_a_loss_for_a_method_that_takes_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookup("method", "vae"), "loss_kind", None)
        assert check(plain("loss=cosine")).loss.name == "cosine"  # its own file may say so
        with pytest.raises(ConfigError) as caught:
            check(plain("loss=cosine"), (), ["loss=cosine"])
        assert caught.value.problems == ["loss=cosine: vae builds its own loss and takes none"]

    def test_the_kind_of_a_further_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @dataclass(frozen=True)
        class Config:
            teacher: Annotated[Choice, Group("model", "encoder")]

        class Student(Method):
            model_kind = "autoencoder"
            loss_kind = "images"

        Student.Config = Config
        monkeypatch.setattr(check_module, "_class", self._classes(Student))
        values = plain()
        values["method"] = {"name": "student", "teacher": plain("model=mlp")["model"]}
        assert combination_problems(values) == []
        values["method"]["teacher"] = plain("method=cyclegan")["method"]["discriminator"]
        assert combination_problems(values) == [
            "model@method.teacher=patchgan16: method student needs a model of kind encoder, this "
            f"one is of kind discriminator; expected {ENCODERS}"
        ]

    @staticmethod
    def _classes(student: type) -> Any:
        before = check_module._class

        def find(group: str, section: Any) -> Any:
            return student if group == "method" else before(group, section)

        return find

    def test_a_model_of_two_kinds_fits_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = plain("method=supervised")
        monkeypatch.setattr(lookup("model", "resnet"), "kind", ("encoder", "other"))
        check(values)
        monkeypatch.setattr(lookup("model", "resnet"), "kind", ("other", "another"))
        assert problems(values) == [
            "model=resnet20: method supervised needs a model of kind encoder, this one is of kind "
            "other and another; expected cnn or mlp or resnet18 or resnet34 or resnet50 or "
            "torchvision or tutorial_student or tutorial_teacher or vgg13 or vgg8 or wrn16_2 or "
            "wrn40_2"
        ]


SEED = "seed: got true, expected an integer >= 0"
LATENT = "method.latent: got 0, expected an integer >= 1"


class TestWithoutTorch:
    """Mistakes that are found without the classes of methods, models and losses."""

    def broken(self) -> dict[str, Any]:
        values = plain()
        values["seed"] = True
        values["method"]["latent"] = 0
        return values

    def test_the_light_check_passes_over_them(self) -> None:
        values = self.broken()
        with pytest.raises(ConfigError) as caught:
            check_without_torch(values)
        assert caught.value.problems == [SEED]
        check_without_torch(values | {"seed": 0})

    @pytest.mark.parametrize(
        ("keys", "told"),
        [
            *((keys, [SEED]) for keys in ("seed", "method", "optimizer.lr dataset +x")),
            *((f"seed {key}", [LATENT, SEED]) for key in (
                "model", "loss", "loss.sigma", "method.latent", "+method.x", "++model.x",
                "~method.beta", "model@method.discriminator")),
        ],
    )  # fmt: skip
    def test_classes_are_read_if_a_key_needs_one(self, keys: str, told: list[str]) -> None:
        with pytest.raises(ConfigError) as caught:
            check(self.broken(), (), keys.split(), quick=True)
        assert sorted(caught.value.problems) == told

    def test_what_is_known_already_is_told_first(self) -> None:
        with pytest.raises(ConfigError) as caught:
            check(self.broken(), ["epoch: unknown key"], ["epoch"], quick=True)
        assert caught.value.problems == [
            "epoch: unknown key",
            SEED,
        ]

    def test_nothing_wrong(self) -> None:
        assert check(plain(), (), ["seed"]) == check(plain(), (), ["model"]) == check(plain())


class TestSignature:
    def test_is_of_values_and_not_of_their_order(self) -> None:
        values = plain()
        assert signature(values) == signature(dict(reversed(values.items())))
        assert len(signature(values)) == 8
        assert int(signature(values), 16) >= 0

    @pytest.mark.parametrize(
        "key", ["outputs", "data_dir", "name", "log_every", "checkpoint_every", "logger"]
    )
    def test_leaves_out_what_does_not_change_the_result(self, key: str) -> None:
        assert signature(plain() | {key: "other"}) == signature(plain())

    @pytest.mark.parametrize(
        "key", ["seed", "epochs", "steps", "batch_size", "accumulate", "eval_every", "method",
                "model", "loss", "dataset", "optimizer", "schedule", "augment", "hardware"],
    )  # fmt: skip
    def test_changes_with_what_does(self, key: str) -> None:
        assert signature(plain() | {key: "other"}) != signature(plain())

    def test_a_new_key_with_a_default_leaves_it_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a section of a class, also inside of a method, in one without, and outside of all."""
        values = plain("method=cyclegan")
        before = signature(values)
        conf = shutil.copytree(CONF, tmp_path / "conf")
        new = "new_key: 3  # of a later dlrun\n"
        files_ = [*conf.glob("model/*.yaml"), *conf.glob("hardware/*.yaml"), conf / "train.yaml"]
        for path in files_:
            path.write_text(path.read_text() + ("" if "_global_" in path.read_text() else new))
        monkeypatch.setattr(signature_module, "files", lambda _: conf)
        signature_module._defaults.cache_clear()
        try:
            sections = (values["model"], values["method"]["discriminator"], values["hardware"])
            for section in (*sections, values):
                section["new_key"] = 3
            assert signature(values) == before
            for section in (*sections, values):
                section["new_key"] = 4
                assert signature(values) != before
                section["new_key"] = 3
        finally:
            signature_module._defaults.cache_clear()

    def test_of_one_value_written_in_two_ways(self) -> None:
        one = check(plain("optimizer.lr=1e-3", "eval_every=500"))
        other = check(plain("optimizer.lr=0.001", "eval_every=500 steps"))
        assert signature(to_plain_types(one)) == signature(to_plain_types(other))


def test_a_network_that_is_no_class_of_the_registry_is_told_once() -> None:
    values = plain()
    values["model"]["name"] = "nope"
    assert len(problems(values)) == 1
    assert issubclass(lookup("model", "mlp"), nn.Module)
