"""Command lines to plain values, and every reason at once why one is refused."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlrun.config.compose import (
    REFUSALS,
    compose,
    compose_plain,
    composer,
    user_config_dir,
)
from dlrun.config.schema import check
from dlrun.console import Console
from dlrun.errors import ConfigError
from dlrun.sweeps.hydra import sweep

CONF = Path(str(files("dlrun.conf")))
METHODS = (
    "autoencoder, byol, capsnet, cyclegan, dbvae, distill, multitask, siamese, supervised, vae"
)
METHOD_LIST = f"There are {METHODS}"
OPTIMIZERS = "There are adam, adam_gan, adamw, lars, sgd"
MODELS = (
    "There are capsnet, cnn, conv_autoencoder, conv_decoder, mlp, mlp_autoencoder, mlp_decoder, "
    "patchgan, patchgan16, patchgan34, resnet110, resnet18, resnet20, resnet32, resnet32x4, "
    "resnet34, resnet44, resnet50, resnet56, resnet6_generator, resnet8, resnet8x4, "
    "resnet9_generator, resnet_generator, torchvision, tutorial_student, tutorial_teacher, "
    "unet_generator, vgg13, vgg8, wrn16_2, wrn40_2"
)


def shipped(path: str) -> dict[str, Any]:
    """What a file of conf/ says."""
    plain = OmegaConf.to_container(OmegaConf.load(CONF / f"{path}.yaml"))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def refused(*overrides: str, config_dir: str | None = None) -> list[str]:
    """What is told of a command line that Hydra itself would not take."""
    with pytest.raises(ConfigError) as caught:
        check(*compose(overrides, config_dir), overrides, quick=True)
    assert all(len(line.splitlines()) == 1 for line in caught.value.problems)
    return caught.value.problems


def refused_sweep(*overrides: str) -> list[str]:
    """What is told of a sweep; nothing of it is started."""
    with pytest.raises(ConfigError) as caught:
        sweep(list(overrides), None, Console())
    return caught.value.problems


class TestComposed:
    def test_the_default(self) -> None:
        plain = compose_plain([], None)
        assert (plain["method"]["name"], plain["dataset"]["name"]) == ("vae", "fashion_mini")
        assert plain["epochs"] == shipped("method/vae")["epochs"]
        assert "hydra" not in plain

    def test_a_method_brings_what_suits_it(self) -> None:
        plain = compose_plain(["method=byol", "dataset=cifar10"], None)
        assert plain["model"] == shipped("model/resnet20")
        assert plain["loss"] == shipped("loss/cosine")
        assert plain["optimizer"] == shipped("optimizer/lars")
        assert plain["schedule"] == shipped("schedule/cosine_warmup")
        assert plain["augment"]["second"] is not None
        assert plain["batch_size"] == shipped("method/byol")["batch_size"]
        assert plain["dataset"] == shipped("dataset/cifar10")

    @pytest.mark.parametrize("order", [1, -1])
    def test_what_is_typed_wins_over_it_in_any_order(self, order: int) -> None:
        typed = ["method=byol", "model=mlp", "optimizer=sgd", "optimizer.lr=3", "batch_size=7"]
        plain = compose_plain(typed[::order], None)
        assert plain["model"]["name"] == "mlp"
        assert plain["optimizer"] | {"name": "sgd", "lr": 3} == plain["optimizer"]
        assert plain["batch_size"] == 7
        assert plain["loss"]["name"] == "cosine"

    def test_a_further_network_of_a_method(self) -> None:
        plain = compose_plain(["method=cyclegan", "model@method.discriminator=patchgan"], None)
        assert plain["method"]["discriminator"] == shipped("model/patchgan")
        assert plain["method"]["cycle"] == shipped("method/cyclegan")["method"]["cycle"]

    def test_interpolation(self) -> None:
        assert compose_plain(["epochs=${seed}", "seed=5"], None)["epochs"] == 5

    def test_a_section_of_values(self) -> None:
        plain = compose_plain(["optimizer={lr:0.5}"], None)
        assert plain["optimizer"]["lr"] == 0.5
        assert plain["optimizer"]["name"] == "adam"


# Of each stage in which a command line is looked at: what is typed, and the end of what is told.
GROUPS = {
    "method=bylo": f"no such method. Did you mean method=byol? {METHOD_LIST}",
    "method=null": f"no such method. {METHOD_LIST}",
    "method=3": f"no such method. {METHOD_LIST}",
    "method=true": f"no such method. {METHOD_LIST}",
    "method=../vae": f"no such method. Did you mean method=vae? {METHOD_LIST}",
    "method=[vaee]": f"no such method. Did you mean method=vae? {METHOD_LIST}",
    "optimizer=sdg": f"no such optimizer. Did you mean optimizer=sgd? {OPTIMIZERS}",
    "+method=byol": "there is a method already; choose with method=byol",
    "++method=byol": "there is a method already; choose with method=byol",
}
KEYS = {
    "epoch=3": "Did you mean epochs?",
    "optimiser.lr=3": "Did you mean optimizer.lr?",
    "optimizer.betsa=1": "Did you mean optimizer.betas?",
    "latent=3": "Did you mean method.latent?",
    "latnet=3": "Did you mean method.latent?",
    "optimizer.latent=3": "Did you mean method.latent?",
    "methods=byol": "Did you mean method?",
    "method/x=3": "Did you mean method?",
    "hardware.presicion=fp32": "Did you mean hardware.precision?",
    # names from elsewhere
    "lr=3": "Did you mean optimizer.lr?",
    "learning_rate=3": "Did you mean optimizer.lr?",
    "imgsz=64": "Did you mean dataset.size?",
    "resume=last": "Did you mean dlrun resume RUN?",
    "gpu=1": "Did you mean hardware?",
    "arch=resnet20": "Did you mean model?",
    "output_dir=x": "Did you mean outputs?",
}
FORM = {
    "=3": "expected key=value without spaces around =, such as epochs=5",
    "epochs =3": "expected key=value without spaces around =, such as epochs=5",
    "epochs": "expected key=value, such as epochs=5",
    "vae": "expected key=value. Did you mean method=vae?",
    "cosine": "expected key=value. Did you mean loss=cosine or schedule=cosine?",
    "ünï": "expected key=value, such as epochs=5",
    "--flag": "expected key=value, such as epochs=5",
    "seed=choice()": "not understood; expected choice(a,b,...) with at least one value",
    "seed=int(range(a))": "not understood; expected range(start,stop[,step]) with numbers",
    "seed=tag(log,interval(1))": "not understood; expected interval(low,high) with two numbers",
    "method=byol,vae": "several values are a sweep, which needs -m: dlrun train -m method=byol,vae",
    "sweep.jobs=2": "only valid in a sweep; add -m",
    "name=a,b": "several values are a sweep, which needs -m: dlrun train -m name=a,b; to give it "
    "as one text, write name=\"'...'\"",
    "method=glob(*)": "several values are a sweep, which needs -m: dlrun train -m method=glob(*)",
}


@pytest.mark.parametrize("stage", [GROUPS, FORM])
def test_what_is_wrong_with_each(stage: dict[str, str]) -> None:
    assert refused(*stage) == [f"{typed}: {told}" for typed, told in stage.items()]


def test_unknown_keys() -> None:
    told = []
    for typed, meant in KEYS.items():
        key = typed.partition("=")[0]
        told.append(f"{key}: unknown key. {meant}")
    assert refused(*KEYS) == told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["zzz=1", "zzz.y=1", "optimizer.momentun=1", "seed.x=3",
             "augment.second.flip=1", "optimizer={lrr:3}", "+epochs=3", "~epoch"],
            ["zzz: unknown key; dlrun train --help lists them",
             "zzz.y: unknown key; dlrun train --help lists them",
             "optimizer.momentun: unknown key; expected one of lr, betas, eps, "
             "weight_decay, clip_norm",
             "seed.x: unknown key; seed is 0, not a section of keys",
             "augment.second.flip: unknown key; augment.second is null, not a section of "
             "keys",
             "optimizer.lrr: unknown key. Did you mean optimizer.lr?",
             "+epochs=3: this key exists; give epochs=3",
             "epoch: unknown key. Did you mean epochs?"],
        ),
        (["method="], [f"method='': no such method. {METHOD_LIST}"]),
        (["", "  "], ["'': an empty argument; expected key=value, such as epochs=5"]),
        (["="], ["=: expected key=value without spaces around =, such as epochs=5"]),
        (
            ["model@method.teacher=mlp"],
            ["model@method.teacher=mlp: the method has no such part; it has no further network"],
        ),
        (["epochs=${nope}"], ["epochs: Interpolation key 'nope' not found"]),
        (
            ["name=${oc.env:NOT_SET_HERE}"],
            ["name: KeyError raised while resolving interpolation: \"Environment variable "
             "'NOT_SET_HERE' not found\""],
        ),
        (
            ["hydra.run.dir=x", "hydra/launcher=ray"],
            ["hydra.run.dir=x: has no effect in dlrun; runs go to a folder below outputs=FOLDER",
             "hydra/launcher=ray: only valid in a sweep; add -m"],
        ),
        (["seed=1", "bü=3"], ["bü: unknown key; dlrun train --help lists them"]),
    ],
)  # fmt: skip
def test_further_mistakes(typed: list[str], told: list[str]) -> None:
    assert refused(*typed) == told


def test_spaces_around_the_equals_sign() -> None:
    told = "without spaces around =, such as epochs=5"
    assert refused("seed=1", "epochs", "=", "3") == [f"epochs = 3: expected key=value {told}"]


def test_every_mistake_of_every_kind_at_once() -> None:
    assert refused(
        "method=bylo", "dataset=mnits", "lr=3", "+foo=1", "seed=true", "vae", "epochs=1,2",
        "eval_every=3 parsecs", "steps=0", "optimizer.betas=[0.9]",
    ) == [
        "vae: expected key=value. Did you mean method=vae?",
        "epochs=1,2: several values are a sweep, which needs -m: dlrun train -m epochs=1,2; to "
        "give it as one text, write epochs=\"'...'\"",
        f"method=bylo: no such method. Did you mean method=byol? {METHOD_LIST}",
        "dataset=mnits: no such dataset. Did you mean dataset=mnist? There are cifar10, cifar100, "
        "fashion_mini, fashion_mnist, image_folder, mnist, two_domains",
        "lr: unknown key. Did you mean optimizer.lr?",
        "foo: unknown key; expected one of method, model, loss, dataset, hardware, optimizer, "
        "schedule, augment, bias, logger, groups, seed, epochs, steps, batch_size, accumulate, "
        "log_every, eval_every, patience, checkpoint_every, name, outputs, data_dir",
        "optimizer.betas: got [0.9], expected [a number in [0, 1), a number in [0, 1)]",
        "seed: got true, expected an integer >= 0",
        "steps: got 0, expected an integer >= 1 or null",
        "eval_every: got 3 parsecs, expected 500 (steps) or 2 epochs or 10%",
    ]  # fmt: skip


def test_a_missing_value_is_told_beside_the_others() -> None:
    assert refused("dataset=image_folder", "epoch=3") == [
        "epoch: unknown key. Did you mean epochs?",
        "dataset.root: missing; give dataset.root=..., expected text (a path)",
    ]


def test_the_keys_are_those_of_what_was_chosen() -> None:
    assert refused("method=byol", "method.latent=3", "optimizer=sgd", "optimizer.momentun=1") == [
        "method.latent: unknown key; expected one of probe_optimizer, tau, hidden, "
        "projection, predictor, target_projector",
        "optimizer.momentun: unknown key. Did you mean optimizer.momentum?",
    ]


def test_the_networks_inside_of_a_method() -> None:
    assert refused(
        "method=cyclegan", "model@method.discriminator=patchgn",
        "model@method.discriminatr=patchgan", "+model@method.discriminator=patchgan",
        "method.discriminator.depth=3", "method.dsicriminator.width=3",
    ) == [
        "model@method.discriminator=patchgn: no such model. Did you mean "
        f"model@method.discriminator=patchgan? {MODELS}",
        "model@method.discriminatr=patchgan: the method has no such part. Did you mean "
        "model@method.discriminator?",
        "+model@method.discriminator=patchgan: this part exists; give "
        "model@method.discriminator=patchgan",
        "method.discriminator.depth: unknown key; expected one of width, layers",
        "method.dsicriminator.width: unknown key. Did you mean "
        "method.discriminator.width?",
    ]  # fmt: skip


@settings(deadline=None, max_examples=6, derandomize=True)
@given(st.lists(st.text("ab1=.,:+~@/[]{}()'\"\\$ -\n*é\t", max_size=9), min_size=9, max_size=9))
def test_no_text_at_all_is_met_by_anything_but_a_refusal(texts: list[str]) -> None:
    try:
        compose_plain([*texts, "epoch=1"], None)
    except ConfigError as refusal:
        assert "epoch: unknown key. Did you mean epochs?" in refusal.problems
        assert all(problem.strip() for problem in refusal.problems)
    else:
        pytest.fail("epoch=1 was taken")


class TestSweeps:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_each_value_is_looked_at_and_each_mistake_told_once(self) -> None:
        assert refused_sweep("method=byo,vae,clygan", "epoch=1,2", "seed=0,x,1,y") == [
            f"method=byo: no such method. Did you mean method=byol? {METHOD_LIST}",
            "epoch: unknown key. Did you mean epochs?",
            "seed: got x, expected an integer >= 0",
            "seed: got y, expected an integer >= 0",
            f"method=clygan: no such method. Did you mean method=cyclegan? {METHOD_LIST}",
        ]

    @pytest.mark.parametrize(
        "text",
        ["seed=0,1", "seed=range(0,3)", "seed=choice(1,2)", "model=glob(*autoencoder)",
         "method=vae,supervised", "seed=5", "+hydra.sweep.x=1"],
    )  # fmt: skip
    def test_with_nothing_wrong(self, text: str) -> None:
        with composer() as own:
            assert own.parse([text], sweep=True)[1] == []

    def test_an_interval_is_for_studies(self) -> None:
        text = "optimizer.lr=interval(0.1,1)"
        assert refused_sweep(text) == [
            f"{text}: only dlrun tune searches an interval(...); with -m, give a,b,c, "
            "choice(...) or range(...)"
        ]
        with composer() as own:
            assert own.parse([text], sweep=True, tune=True)[1] == []

    def test_a_pattern_that_stands_for_nothing(self) -> None:
        assert refused_sweep("method=glob(x*)") == [f"method=glob(x*): matches none of {METHODS}"]

    def test_what_does_not_fit_in_one_of_the_jobs(self) -> None:
        assert refused_sweep("method=vae,byol", "loss=bce") == [
            "loss=bce: method byol needs a loss of kind vectors, this one is of kind images; "
            "expected cosine"
        ]

    @pytest.mark.parametrize(
        ("texts", "jobs"),
        [
            (["seed=range(0,1000000000000)"], "1,000,000,000,000"),
            (["optimizer.lr=range(0,1,1e-300)"], "1e+300"),
            (["seed=range(0,200)", "epochs=range(1,101)"], "20,000"),
        ],
    )
    def test_more_jobs_than_anyone_runs(self, texts: list[str], jobs: str) -> None:
        assert refused_sweep(*texts) == [f"this sweep has {jobs} jobs; expected at most 10,000"]

    @pytest.mark.parametrize("text", ["seed=range(0)", "seed=range(3,1)", "seed=range(0,3,0)"])
    def test_a_range_without_values(self, text: str) -> None:
        assert refused_sweep(text)[0].startswith(f"{text}: ")


class TestOwnFolder:
    @pytest.fixture
    def write(self, tmp_path: Path) -> Callable[[str, str | bytes], str]:
        def written(name: str, text: str | bytes) -> str:
            path = tmp_path / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            return str(tmp_path / "conf")

        return written

    def test_its_options_stand_beside_ours(self, write: Any) -> None:
        folder = write("method/mine.yaml", "name: my_file:Mine\nsize: 3\n")
        write("model/big.yaml", "defaults: [mlp, _self_]\nhidden: [1000]\n")
        plain = compose_plain(["method=mine", "model=big", "method.size=4"], folder)
        assert plain["method"] == {"name": "my_file:Mine", "size": 4}
        assert plain["model"] == shipped("model/mlp") | {"hidden": [1000]}
        with composer(folder) as own:
            assert own.options["method"] == sorted([*METHODS.split(", "), "mine"])
            assert own.sections("model")["big"]["hidden"] == [1000]
            assert own.sections("model")["mlp"] == shipped("model/mlp")
        assert refused("method=mien", config_dir=folder)[0].startswith(
            "method=mien: no such method. Did you mean method=mine?"
        )

    def test_a_method_may_choose_what_suits_it(self, write: Any) -> None:
        folder = write(
            "method/mine.yaml",
            "# @package _global_\ndefaults:\n  - override /model: resnet8\n"
            "method:\n  name: my_file:Mine\nepochs: 2\n",
        )
        plain = compose_plain(["method=mine"], folder)
        assert plain["model"]["depth"] == 8
        assert plain["epochs"] == 2
        assert compose_plain(["method=mine", "epochs=5"], folder)["epochs"] == 5

    def test_a_whole_group_of_ours_that_is_new(self, write: Any) -> None:
        folder = write(
            "recipe/my_own.yaml",
            "# @package _global_\ndefaults:\n  - override /method: byol\nepochs: 3\n",
        )
        plain = compose_plain(["recipe=my_own"], folder)
        assert (plain["method"]["name"], plain["epochs"]) == ("byol", 3)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("name: [open", "method/mine.yaml:1: expected ',' or ']', but got '<stream end>'"),
            ("name: a: b\n", "method/mine.yaml:1: mapping values are not allowed here"),
            ("\tname: a\n",
             "method/mine.yaml:1: found character '\\t' that cannot start any token"),
            ("a: 1\nname: x\na: 2\n", "method/mine.yaml:3: found duplicate key a"),
            (b"\xff\xfe\x00",
             "method/mine.yaml:1: not UTF-8 text; save the file as UTF-8"),
            (b"a: 1\nb: gr\xfc\xdfe\n",
             "method/mine.yaml:2: not UTF-8 text; save the file as UTF-8"),
            ("# @package _global_\ndefaults:\n  - override /model: resnet2\n",
             "in a defaults list: model=resnet2: no such model. Did you mean model=resnet32?"),
            ("defaults:\n  - override /model: resnet8\nname: a:B\n",
             "In 'method/mine': Could not override 'model@method.model'. A file with override "
             "lines begins with the line # @package _global_"),
        ],
    )  # fmt: skip
    def test_a_broken_file(self, write: Any, text: str | bytes, told: str) -> None:
        folder = write("method/mine.yaml", text)
        lines = refused("method=mine", config_dir=folder)
        assert len(lines) == 1
        assert lines[0].removeprefix(f"{folder}/").startswith(told)
        assert compose_plain(["method=vae"], folder)["method"]["name"] == "vae"

    def test_a_file_with_the_name_of_one_of_ours(self, write: Any) -> None:
        """Ours would be taken, in silence."""
        folder = write("model/mlp.yaml", "name: my_file:Net\n")
        write("optimizer/adam.yaml", "name: adam\n")
        assert refused("method=supervised", "model=mlp", config_dir=folder) == [
            f"{folder}/model/mlp.yaml: dlrun has model=mlp already; rename yours, or name the "
            "folder of your own configs by --config-dir"
        ]
        assert compose_plain(["method=supervised"], folder)["model"]["name"] == "resnet"
        write("recipe/mine.yaml", "# @package _global_\ndefaults:\n  - override /model: mlp\n")
        assert len(refused("recipe=mine", config_dir=folder)) == 2

    def test_another_projects_folder_does_no_harm(self, write: Any) -> None:
        for name in ("optimizer/adam", "seed/one", "trainer/gpu", "config", "method/vae"):
            folder = write(f"{name}.yaml", "_target_: torch.optim.Adam\nlr: 1\n")
        write("dataset/image_folder.yaml", "\tdamaged")
        assert compose_plain(["seed=3"], folder) == compose_plain(["seed=3"], None)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
    @pytest.mark.parametrize("ending", ["yaml", "yml"])
    def test_as_editors_of_other_systems_write_it(
        self, write: Any, ending: str, encoding: str
    ) -> None:
        text = "# @package _global_\r\n# größer\r\nepochs: 2\r\n"
        folder = write(f"recipe/mine.{ending}", text.encode(encoding))
        assert compose_plain(["recipe=mine"], folder)["epochs"] == 2
        with composer(folder) as own:
            assert own.sections("recipe")["mine"] == {"epochs": 2}

    def test_other_files_in_it_do_no_harm(self, write: Any) -> None:
        folder = write("train.yaml", "unrelated: true\n")
        write("deep/er/file.yaml", "x: 1\n")
        write("notes.txt", "x")
        assert compose_plain([], folder) == compose_plain([], None)

    def test_is_conf_in_the_current_folder(
        self, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert user_config_dir() is None
        write("method/mine.yaml", "name: a:B\n")
        assert user_config_dir() == "conf"

    def test_is_neither_our_own_nor_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(CONF.parent)
        assert user_config_dir() is None
        assert compose_plain([], "conf") == compose_plain([], None)
        (tmp_path / "conf").write_text("")
        monkeypatch.chdir(tmp_path)
        assert user_config_dir() is None


def test_refusals_are_those_of_hydra_omegaconf_and_yaml() -> None:
    assert not issubclass(ConfigError, REFUSALS)


# --- several options of one group ----------------------------------------------------------------


def test_several_loggers_at_once_or_none() -> None:
    assert list(compose_plain([])["logger"]) == ["tensorboard"]
    assert compose_plain(["logger=[]"])["logger"] == compose_plain(["logger=none"])["logger"] == {}
    assert list(compose_plain(["logger=[none,tensorboard]"])["logger"]) == ["tensorboard"]
    with pytest.raises(ConfigError, match="logger=tensorbord: no such logger"):
        compose_plain(["logger=[none,tensorbord]"])
    with pytest.raises(ConfigError, match=r"method=\[vae, byol\]: no such method"):
        compose_plain(["method=[vae,byol]"])
