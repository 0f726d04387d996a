"""A mistake in a user's own code is one line, with the user's file and the line in it.

Each trial takes the examples of docs/your-own.md, with random options, makes one random mistake in
one of them and trains. Every tenth trial makes none and has to train.
"""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from forked import Forked
from guide import examples

COMMON = ["dataset=stripes", "hardware.threads=1", "log_every=1", "logger=none", "name=tried"]
COMMANDS = {
    "rotation.py": ["method=rotation", "model=flat"],
    "gan.py": ["method=gan", "model=mlp_decoder", "model.code=8"],
    "own_losses.py": ["method=supervised", "model=flat", "loss=poly1"],
    "own_models.py": ["method=supervised", "model=flat"],
    "own_decoders.py": ["method=gan", "model=upsampling", "model.width=4"],
    "stripes.py": ["method=supervised", "model=flat"],
    "confident.py": ["method=confident", "model=flat"],
    "csv_logger.py": ["method=supervised", "model=flat", "logger=csv"],
}
# Of each kind: the example, what stands in it, and what is written instead.
MISTAKES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a step returns no dict": (
        "rotation.py", 'return {"loss": loss}',
        ("return loss", "pass", "return 0.5", "return (loss,)", "return [loss]", "return {}"),
    ),
    "a step returns floats": (
        "rotation.py", '{"loss": loss}',
        ('{"loss": loss.item()}', '{"loss": float(loss)}', '{"loss": loss, "n": len(turns)}'),
    ),
    "a step returns vectors": (
        "rotation.py", '{"loss": loss}',
        ('{"loss": loss[None]}', '{"loss": loss.expand(3)}', '{"loss": loss, "turns": turns}'),
    ),
    "a step returns other names each time": (
        "rotation.py", '{"loss": loss}',
        ('{f"loss{update.step}": loss}', '{"loss": loss, **({"a": loss} if update.step else {})}'),
    ),
    "nothing is minimized": ("rotation.py", "update.minimize(loss)", ("pass", "loss.backward()")),
    "minimized after a backward": (
        "rotation.py", "update.minimize(loss)",
        ("loss.backward(); update.minimize(loss)",
         "loss.backward(retain_graph=True); update.minimize(loss)"),
    ),
    "what is minimized is no loss": (
        "rotation.py", "update.minimize(loss)",
        ("update.minimize(loss.item())", "update.minimize(loss.detach())", "update.minimize()",
         "update.minimize(turns)", "update.minimize(None)", 'update.minimize(loss, "encoder")'),
    ),
    "the loss is not averaged": ("rotation.py", ").mean()", (")",)),
    "the wrong optimizer": (
        "gan.py", 'update.minimize(loss_d, "discriminator")',
        ('update.minimize(loss_d, "generator")', 'update.minimize(loss_d, "critic")'),
    ),
    "parameters are made in a step": (
        "rotation.py", "turned = ",
        ("self.more = nn.Linear(2, 2); turned = ", "self.register_buffer('b', turns); turned = "),
    ),
    "wrong parameter groups": (
        "gan.py", '"generator": self.generator.parameters()',
        ('"generator": self.generator', '"generator": [nn.Parameter(torch.zeros(2))]',
         '"generator": []', '"generator": [*self.generator.parameters()] * 2',
         '"generators": self.generator.parameters()',
         '"generator": self.generator.named_parameters()'),
    ),
    "networks in a list": (
        "rotation.py", "self.head = nn.Linear(self.encoder.feature_dim, 4)",
        ("self.heads = [nn.Linear(self.encoder.feature_dim, 4)]",),
    ),
    "lazy layers": (
        "rotation.py", "nn.Linear(self.encoder.feature_dim, 4)", ("nn.LazyLinear(4)",),
    ),
    "wrong class attributes": (
        "rotation.py", 'key_metric = "knn"',
        ('pixels = "bytes"', "key_metric = 3", 'metrics = {"a": "higher"}', "metrics = ['a']"),
    ),
    "no super().__init__()": ("rotation.py", "super().__init__()", ("pass",)),
    "an ability returns something else": (
        "rotation.py", "return self.encoder(image)",
        ("return None", "return self.encoder(image)[0]", "return image",
         "return self.encoder(image).mean().item()"),
    ),
    "samples of another shape": (
        "gan.py", "return (self.generate(n).float() + 1) / 2",
        ("return self.generate(1)", "return None", "return [self.generate(n)]",
         "return self.generate(n).flatten(1)"),
    ),
    "validate returns no dict": (
        "confident.py", 'return {"certainty": true, **super().validate(batch)}',
        ("return true", "return true.mean()", "return None", "return [true]", "return 0.5"),
    ),
    "validate returns no values of images": (
        "confident.py", '"certainty": true,',
        ('"certainty": true.mean(),', '"certainty": true.mean().item(),',
         '"certainty": true.repeat(2),', '"certainty": p,', '"certainty": true.tolist(),'),
    ),
    "validate returns other names": (
        "confident.py", '"certainty": true,', ('f"certainty{torch.rand(1).item()}": true,',),
    ),
    "validate returns a name of dlrun's": (
        "confident.py", '"certainty": true,',
        ('"accuracy": true,', '"certainty": true, "linear_probe": p[:, 0],'),
    ),
    "the key metric is not measured": ("confident.py", '"certainty": true, ', ("",)),
    "load returns no splits": (
        "stripes.py",
        'return Splits(self.table(config, 600), self.table(config, 200), ("rows", "columns"))',
        ('return self.table(config, 600), self.table(config, 200), ("rows", "columns")',
         "return None", "return self.table(config, 600)",
         "return Splits(self.table(config, 600), self.table(config, 200))",
         'return Splits(self.table(config, 600), None, ("rows", "columns"))'),
    ),
    "wrong class names": (
        "stripes.py", '("rows", "columns"))',
        ('("rows",))', '"rows columns")', "(0, 1))", '("rows", "rows"))', "2)"),
    ),
    "images that are no bytes": (
        "stripes.py", "return Table(images,",
        ("return Table(images / 255,", "return Table(images[:, 0],", "return Table(images.numpy(),",
         "return Table(list(images),", "return Table(images.int(),"),
    ),
    "labels that do not fit": (
        "stripes.py", "labels, {",
        ("labels.int(), {", "labels + 1, {", "labels[1:], {", "labels - 1, {", "labels.tolist(), {",
         "labels.float(), {"),
    ),
    "attributes that do not fit": (
        "stripes.py", '{"angle": angle}',
        ('{"angle": angle[1:]}', '{"angle": angle > 1}', '{"angle": angle.tolist()}',
         '{f"angle{count}": angle}', '{"angle": labels[:, None]}'),
    ),
    "a network lacks what its kind has": (
        "own_models.py", "self.feature_dim = config.width",
        ("pass", "self.feature_dim = (config.width, 1)", "self.features = config.width",
         "self.feature_dim = config.width + 1", "self.feature_dim = None"),
    ),
    "a network returns another shape": (
        "own_models.py", "return self.layer(x.flatten(1)).relu()",
        ("return self.layer(x.flatten(1)).relu()[:, :3]", "return self.layer(x)", "return None",
         "return (self.layer(x.flatten(1)),)", "return self.layer(x.flatten(1)).mean()"),
    ),
    "a network is called in another way": (
        "own_models.py", "def forward(self, x):",
        ("def forward(self, x, y):", "def forwards(self, x):"),
    ),
    "a decoder of another shape": (
        "own_decoders.py", "return self.layers(code)",
        ("return self.layers(code)[:, :, 1:]", "return self.layers(code).flatten(1)"),
    ),
    "a loss returns no losses of images": (
        "own_losses.py", "return -log_p + epsilon * (1 - log_p.exp())",
        ("return (-log_p).mean()", "return (-log_p).mean().item()", "return None",
         "return -log_p[:, None]", "pass"),
    ),
    "a loss is called in another way": (
        "own_losses.py", "def poly1(logits, labels, *",
        ("def poly1(logits, *", "def poly1(logits, labels, weights, *"),
    ),
    "an option without a type": ("own_losses.py", "epsilon: NonNegative", ("epsilon",)),
    "a Config that is none": (
        "rotation.py", "weight: Positive",
        ("weight: list = []", "weight: torch.Tensor", "weight: 'Postive'"),
    ),
    "the process ends in a step": ("rotation.py", "turned = ", ("raise SystemExit(3); turned = ",)),
    "a hook returns something else": (
        "rotation.py", "    def embed",
        ("    def warnings(self, *_): return 'a'\n    def embed",
         "    def before_epoch(self, *_): return 3\n    def embed",
         "    prerequisites = classmethod(lambda *_: {'a': 3})\n    def embed"),
    ),
    "a logger raises": (
        "csv_logger.py", "self.rows = csv.writer(self.file)",
        ("self.row = csv.writer(self.file)", "self.rows = csv.writer(self.files)",
         "self.rows = csv.writer(self.file); self.file.close()"),
    ),
    "a logger raises at its end": ("csv_logger.py", "self.file.close()", ("self.files.close()",)),
    "a typing error": ("*", r"self\.(\w+)\b(?!\()", ("self.{}x",)),
    "a syntax error": ("*", r"(\):)\n", (")\n", "):\nx y\n")),
}  # fmt: skip


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    """What became of each trial; the kinds take turns, their variants are drawn."""
    kinds = list(MISTAKES)
    rng.shuffle(kinds)
    files = examples()
    for number in range(size):
        here = folder / str(number)
        changed, text, what, command = _drawn(rng, files, kinds[number % len(kinds)], number)
        for name, content in {**files, **({changed: text} if changed else {})}.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        code, said = _trained(here, command)
        failure = _judged(changed, code, said)
        yield (
            failure
            and f"{what}\n  dlrun {' '.join(command)}\n  exit code {code}: {failure}\n{said}"
        )


def _drawn(
    rng: random.Random, files: dict[str, str], kind: str, number: int
) -> tuple[str | None, str, str, list[str]]:
    """The changed example, its text, the mistake in words, and the command."""
    name, old, variants = MISTAKES[kind]
    new = rng.choice(variants)
    if name == "*":
        name = rng.choice(list(COMMANDS))
        found = rng.choice(list(re.finditer(old, files[name])) or [None])
        if found is None:  # no such place: an error of another kind
            return _drawn(rng, files, "a syntax error", number)
        start, end = found.span()
        text = files[name][:start] + new.format(found[1]) + files[name][end:]
    else:
        text = files[name].replace(old, new)
        assert text != files[name], (name, old)
    options = [
        rng.choice(["hardware=cpu", "hardware=cpu hardware.precision=bf16"]),
        f"batch_size={rng.choice([8, 16, 40])}", f"steps={rng.choice([2, 3])}",
        f"accumulate={rng.choice([1, 1, 2])}", f"dataset.size={rng.choice([8, 12])}",
        f"optimizer={rng.choice(['sgd', 'adam'])}",
    ]  # fmt: skip
    command = ["train", *COMMON, *COMMANDS[name], *" ".join(options).split()]
    if number % 10 == 9:
        return None, "", "no mistake", command
    return name, text, f"{kind}: {old!r} became {new!r} in {name}", command


def _trained(here: Path, command: list[str]) -> tuple[int, str]:
    own = {**os.environ, "DLRUN_DATA": str(here.parent / "cache"), "OMP_NUM_THREADS": "1"}
    with TemporaryFile("w+") as out, TemporaryFile("w+") as error:
        code = Forked(tuple(command), here, own, out.fileno(), error.fileno()).wait(120)
        error.seek(0)
        return code, error.read()


def _judged(changed: str | None, code: int, said: str) -> str | None:
    """What breaks the promise, if anything does."""
    if changed is None:
        return None if code == 0 else "did not train"
    lines = [line for line in said.splitlines() if line.startswith("dlrun: ")]
    if code not in (1, 2):
        return "no exit code of a mistake"
    if "Traceback" in said or len(lines) != 1:
        return "not one line"
    module = re.escape(changed.removesuffix(".py"))
    return None if re.search(rf"\b{module}(\.py:\d+|:\w+)", said) else "the file is not named"
