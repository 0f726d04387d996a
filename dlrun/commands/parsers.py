"""The arguments of every verb: each flag, choice and help text of dlrun is written here.

A verb is a function that adds its arguments to a parser; its docstring is its `--help`, and the
first line of it stands in `dlrun --help`. Completion reads the same parsers. Imports neither torch
nor Hydra nor rich.
"""

import argparse
import os
from argparse import Action, ArgumentError, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.text import echo, suggest

SPLITS = ("train", "val", "test")
_LONGEST_NAME = 255  # bytes, on every file system in use
SHELLS = ("bash", "zsh", "fish")
_DEVICES = ("auto", "cpu", "cuda", "mps")
_TABLES = ("csv", "json", "jsonl", "parquet")


class Parser(argparse.ArgumentParser):
    """argparse, where a mistake is a UserError that says what is expected."""

    def __init__(self, verb: str, docstring: str, **options: Any) -> None:
        text = docstring.replace("\n    ", "\n").rstrip(" ")
        description, examples, epilog = text.partition("Examples:\n")
        super().__init__(
            prog=f"dlrun {verb}", description=description.rstrip(), epilog=examples + epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options,
        )  # fmt: skip

    def add(self, names: str, text: str | None = None, **options: Any) -> None:
        """Adds an argument: `names` such as "-o --out", `text` for its help."""
        if text is not None and options.get("default", []) != []:
            text += " (default: %(default)s)"
        if options.get("nargs") == "*":
            options.setdefault("default", [])  # or argparse would call it required
        self.add_argument(*names.split(), help=text, **options)

    def flag(self, names: str, text: str | None = None) -> None:
        """Adds one that takes no value."""
        self.add(names, text, action="store_true")

    @property
    def arguments(self) -> Sequence[Action]:
        """Positional arguments and flags, in the order of the help."""
        return self._actions

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        named = message.removeprefix("argument ")
        raise UserError(named if named != message else f"{message}; see `{self.prog} --help`")

    def _check_value(self, action: Action, value: Any) -> None:
        """argparse's place for choices; its own message has no suggestion."""
        if action.choices and not isinstance(value, list) and value not in action.choices:
            raise ArgumentError(action, f"got {echo(value)}{suggest(str(value), action.choices)}")


VERBS: dict[str, Callable[[Parser], None]] = {}
"""All verbs in the order of `dlrun --help`, with the functions that add their arguments."""


def _verb(add: Callable[[Parser], None]) -> Callable[[Parser], None]:
    VERBS[add.__name__] = add
    return add


def parser_of(verb: str) -> Parser:
    """The parser of one of VERBS."""
    add = VERBS[verb]
    # With --help, train and tune also print their config groups and keys.
    parser = Parser(verb, add.__doc__ or "", add_help=verb not in ("train", "tune"))
    add(parser)
    return parser


def summary_of(verb: str) -> str:
    """What a verb does, in one line."""
    return (VERBS[verb].__doc__ or "").partition("\n")[0].rstrip(".")


def parse(verb: str, arguments: Sequence[str]) -> Namespace:
    """The arguments of a verb; flags may stand between positional ones.

    Raises:
        UserError: they are wrong; says what is expected.
    """
    parser = parser_of(verb)
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        flag = unknown[0].partition("=")[0]
        flags = [name for action in parser.arguments for name in action.option_strings]
        more = f"see `{parser.prog} --help`"
        if verb in ("train", "tune"):
            more = "keys are set without dashes, such as epochs=5"
            if flag == "--resume":
                more = "dlrun resume RUN continues a run"
        raise UserError(f"{echo(unknown[0])}: unknown argument{suggest(flag, flags, listed=more)}")
    return options


def at_least(least: float) -> Callable[[str], float]:
    """A number of `least` or more: an integer, if `least` is one."""

    def number(text: str) -> float:
        try:
            value = type(least)(text)
        except ValueError:
            value = None
        if value is None or not value >= least:
            kind = "an integer" if isinstance(least, int) else "a number"
            raise ArgumentTypeError(f"got {echo(text)}, expected {kind} >= {least:g}")
        return value

    return number


def _path(text: str) -> Path:
    if max(map(len, os.fsencode(text).split(b"/"))) > _LONGEST_NAME:
        told = f"expected at most {_LONGEST_NAME} bytes between two slashes"
        raise ArgumentTypeError(f"got {echo(text)}, {told}")
    return Path(expanded(text))


def _text_of_path(text: str) -> str:
    return str(_path(text))


# Arguments of several verbs. Completion knows the metavars RUN, SWEEP and KEY=VALUE.
_RUN = "a run's folder, its name, the beginning of its name, or 'last'"
_IMAGES = "files, folders (with everything below them) or patterns"
_RUNS = """\
Which runs:
  RUN      its folder, its name, the name=... you gave it, the beginning of its name, or last
  SWEEP    its name, the beginning of its name, or a folder with runs below it
  FILTER   KEY=VALUE, such as method=byol, seed=0,1, status=failed, 'optimizer.lr<0.01'; a run must
           match all filters; without RUN and SWEEP they select among all runs

"""


def _outputs(parser: Parser) -> None:
    parser.add("--outputs", "where runs are", type=_path, metavar="FOLDER", default="outputs")


def _data_dir(parser: Parser) -> None:
    parser.add(
        "--data-dir",
        "the data's folder (default: the user's cache)",
        type=_text_of_path,
        metavar="FOLDER",
    )


def _overrides(parser: Parser) -> None:
    parser.add("overrides", "group=option or key=value; see below", nargs="*", metavar="KEY=VALUE")
    parser.flag("-h --help", "show this help, with group=option that of the option")
    own = "the folder of your own configs (default: conf, if it exists)"
    parser.add("-cd --config-dir", own, type=_text_of_path, metavar="FOLDER")


def _run(parser: Parser) -> None:
    parser.add("run", f"{_RUN}; or a checkpoint file", metavar="RUN")


def _loading(parser: Parser, device: bool = True) -> None:
    """How the run is found and loaded."""
    _outputs(parser)
    which = "which checkpoint: best on val, or last"
    parser.add("--which", which, choices=("best", "last"), default="best")
    if device:
        parser.add("--device", "auto: a GPU if there is one", choices=_DEVICES, default="auto")


def _pictures(parser: Parser, animated: bool = False) -> None:
    """Where the pictures of a verb go."""
    path = "a .png or a folder (default: made/ in the run's folder, FILE-made/ for a FILE)"
    parser.add("-o --out", path, type=_path, metavar="PATH")
    parser.flag("--single", "also save each image as a file")
    if animated:
        parser.flag("--gif", "also save an animation")


def _runs(parser: Parser, nargs: str = "+") -> None:
    parser.add("what", "see below", nargs=nargs, metavar="RUN | SWEEP | FILTER")
    parser.epilog = f"{_RUNS}{parser.epilog}"
    _outputs(parser)


def _formats(parser: Parser, row: str) -> None:
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print JSON")
    formats.add_argument("--csv", action="store_true", help=f"print CSV, {row}")


def _deleting(parser: Parser) -> None:
    parser.flag("--yes -y", "do not ask (for scripts)")
    parser.flag("--dry-run -n", "only list what would be deleted")


@_verb
def train(parser: Parser) -> None:
    """Train one run, or with -m a sweep: one run for every combination of values.

    Each run is kept in a folder of its own below outputs/.

    Examples:
      dlrun train                                the default: vae on fashion_mini
      dlrun train method=supervised model=mlp epochs=5
      dlrun train method=byol dataset=cifar10 hardware=gpu_amp
      dlrun train dataset=image_folder dataset.root=~/pictures
      dlrun train -m method=vae loss=bce,mse seed=0,1,2
      dlrun train method=byol --help             the keys of that method
      dlrun train method=byol --cfg job          the whole config as YAML

    A method, model, loss or data set of your own is a class in my_file.py, and a file such as
    conf/method/mine.yaml with the line `name: my_file:MyClass`; choose it by method=mine.
    """
    _overrides(parser)
    # The flags of Hydra that work here; it would silently ignore the others.
    infos = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    parser.flag("-m --multirun", "train a sweep: values are separated by commas")
    cfg = "print the config (job), that of Hydra, or both, instead of training"
    parser.add("-c --cfg", cfg, choices=("job", "hydra", "all"))
    info = f"print how Hydra composes it: {', '.join(infos)}"
    parser.add("-i --info", info, nargs="?", const="all", choices=infos, metavar="WHAT")
    parser.flag("--hydra-help", "print Hydra's own flags")


@_verb
def tune(parser: Parser) -> None:
    """Hyperparameter search on the val split, with Optuna.

    Each trial is an ordinary run below outputs/sweeps/, in a process of its own. Optuna, which
    draws the values, is installed by pip install 'dlrun[tune]'.

    Examples:
      dlrun tune method=vae 'optimizer.lr=interval(1e-4,1e-2)' 'method.beta=choice(.5,1,4)'
      dlrun tune method=supervised model=resnet8,resnet20 'optimizer.lr=interval(.01,1)' epochs=10
      dlrun tune 'optimizer.lr=interval(.01,1)' name=rates tune.trials=40
      dlrun tune 'optimizer.lr=interval(.01,1)' name=rates tune.trials=100   continue it to 100
      dlrun tune 'optimizer.lr=interval(.01,1)' tune.pruner=none             complete each trial
      dlrun tune 'optimizer.lr=interval(.01,1)' 'tune.objective=[accuracy,seconds]'

    With several objectives, the Pareto front is printed. dlrun ls rates, compare rates, plot rates
    and report rates show the trials of a study.

    Values, in Hydra's syntax (quote brackets):
      a,b,c  choice(a,b,c)  glob(res*)   one of them, also of a group: model=mlp,cnn
      range(1,5)  range(0,1,.1)          evenly spaced numbers, without the last
      interval(1e-4,1e-2)                any number in between; on a log scale if both bounds are
                                         > 0 and a factor of 10 or more apart
      tag(log,interval(a,b))             on a log scale; tag(linear,interval(a,b)) on a linear one
      int(interval(8,64))                integers, both bounds included

    The pruner sees each evaluation on val, so eval_every= sets how early a trial can be stopped. A
    pruned run keeps its checkpoint; `dlrun resume` continues it. A trial skips what only a final
    report needs, such as method.likelihood_draws, unless you give it; the command for the best
    trial, which is printed at the end, includes it again.

    Without name=, the command itself names the folder. The study's journal is in that folder: the
    same command continues the study. Two terminals, or two machines that share the folder, can work
    on it at the same time.
    """
    _overrides(parser)


@_verb
def resume(parser: Parser) -> None:
    """Resume an interrupted, killed or failed run at its last checkpoint.

    It continues at the exact step, with the same result as an uninterrupted run (on the CPU to the
    last bit). It keeps its config; to change it, start a new run. Only where its data lie can be
    given anew: they have to be the same.

    Examples:
      dlrun resume last
      dlrun resume 261126-1015
      dlrun resume last dataset.root=/moved/pictures
    """
    parser.add("run", _RUN, metavar="RUN")
    places = "dataset.root=... or data_dir=..., where the data lie elsewhere now"
    parser.add("places", places, nargs="*", default=[], metavar="KEY=FOLDER")
    devices = "train in N processes (default: as many as before)"
    parser.add("--devices", devices, type=at_least(1), metavar="N")
    _outputs(parser)


@_verb
def ls(parser: Parser) -> None:
    """List runs, those of sweeps included, oldest first.

    Examples:
      dlrun ls                                   all runs below outputs/
      dlrun ls method=byol status=failed         both must match
      dlrun ls status=failed,interrupted         one of several values
      dlrun ls 'optimizer.lr<0.01' 'test.accuracy>0.9'
                                                 compared as numbers (quote < and >)
      dlrun ls losses --sort val.best --reverse  one sweep, highest first
      dlrun ls --sort seconds --limit 5 --csv

    Keys of filters and --sort: every key of config.yaml (seed, optimizer.lr, model, ...); status,
    run, done, step, seconds; val.best; test.METRIC at the best checkpoint, test.last.METRIC at the
    last one. The table shows the latest 50 runs; --json and --csv print all of them.
    """
    _runs(parser, "*")
    parser.add("--sort", "sort by a key, lowest first", metavar="KEY")
    parser.flag("--reverse", "reverse the order")
    limits = parser.add_mutually_exclusive_group()
    limit = "the latest N runs; with --sort, the first N"
    limits.add_argument("--limit", type=at_least(1), metavar="N", help=limit)
    limits.add_argument("--all", action="store_true", help="show all runs in the table")
    _formats(parser, "with a column for every config key")


@_verb
def show(parser: Parser) -> None:
    """Show one run in detail: status, metrics, pictures and config.

    Examples:
      dlrun show last
    """
    parser.add("run", _RUN, metavar="RUN")
    _outputs(parser)


@_verb
def compare(parser: Parser) -> None:
    """Compare runs: the config keys that differ, and the metrics over seeds.

    Examples:
      dlrun compare 261126-0201 last           two runs, by the beginning of their names
      dlrun compare losses                     every run of the sweep of that name
      dlrun compare losses seed=0,1,2 --metric accuracy
      dlrun compare method=byol,siamese dataset=cifar10

    Runs that differ only in their seed share a column: mean ± standard deviation (n - 1), and n.
    `best` is the checkpoint with the best val value, `last` the end of training. Unfinished runs
    are excluded. A column that shares two or more seeds with column A is compared with it: the mean
    difference over these seeds, its 95% interval, and the p-value of a paired t-test, not corrected
    for the number of tests.
    """
    _runs(parser)
    metric = "show only this metric; may be repeated"
    parser.add("--metric", metric, action="append", default=[], metavar="NAME")
    _formats(parser, "with a row for each number")


@_verb
def plot(parser: Parser) -> None:
    """Plot curves of runs or a sweep, in the terminal or to a file.

    Examples:
      dlrun plot last
      dlrun plot losses --metric train/loss --over seconds
      dlrun plot method=byol,vae dataset=cifar10 --metric val/knn --out knn.png
      dlrun plot losses --out curves.html      the picture and its numbers

    Runs that differ only in their seed are one curve: their mean, with a band of one standard
    deviation on either side, at the steps that all completed runs have. If none is completed, all
    of them are used. With --over seconds, each point is at the mean time of its step.
    """
    _runs(parser)
    parser.add("--metric", "such as val/knn (default: the key metric on val)", metavar="NAME")
    parser.add("--over", "the x axis", choices=("steps", "seconds"), default="steps")
    parser.add("-o --out", "FILE.png, .svg, .pdf or .html", type=_path, metavar="FILE")


@_verb
def leaderboard(parser: Parser) -> None:
    """Rank the best config of each method on a data set: chosen on val, shown on test.

    Examples:
      dlrun leaderboard dataset=fashion_mini
      dlrun leaderboard dataset=cifar10 --metric knn
      dlrun leaderboard dataset=cifar10 'epochs<=20' model=resnet

    Runs that differ only in their seed count as one config. Each method is represented by its
    config with the best mean key metric on val, and ranked by the test split at the checkpoints
    that val chose: test is not used for selection.
    """
    _runs(parser, "*")
    metric = "a metric of the test split (default: the one that most methods have)"
    parser.add("--metric", metric, metavar="NAME")
    _formats(parser, "with a row for each method")


@_verb
def report(parser: Parser) -> None:
    """Write one self-contained HTML file about a run, several runs or a sweep.

    It has metrics, curves, pictures, config and provenance, and works offline.

    Examples:
      dlrun report last --open
      dlrun report losses                          a sweep, by its name
      dlrun report losses seed=0                   the runs of a sweep that have seed 0
      dlrun report 261126-1015 261126-1130 -o both.html
    """
    _runs(parser)
    out = "default: report.html in the folder of the run or sweep; for several, in this folder"
    parser.add("-o --out", out, type=_path, metavar="FILE")
    parser.flag("--open", "open it in the browser")


@_verb
def evaluate(parser: Parser) -> None:
    """Compute every metric of a run, on its own data set or another one.

    They are shown next to the values recorded during training. Options such as dataset.root=...
    change the data set. --quality measures generated images instead: KID, FID, precision and recall
    on the test split. These are added to the run, where ls, compare, leaderboard and report find
    them.

    Examples:
      dlrun evaluate last
      dlrun evaluate last --split test --json
      dlrun evaluate 261126-1015 261126-1130 --tensorboard
      dlrun evaluate last dataset=image_folder dataset.root=~/pictures --split test
      dlrun evaluate copied/best.pt dataset.root=/elsewhere/pictures
      dlrun evaluate last --quality

    --features: `auto` compares images by the features of a small classifier, which is trained once
    for each data set in about 10 s, `random` by those of an untrained one. A file of Inception v3
    (pt_inception-2015-12-05-6726825d.pth, as in published FIDs, or torchvision's) gives standard
    FIDs.
    """
    parser.add("runs", f"{_RUN}; or a checkpoint file; and dataset=...", nargs="+", metavar="RUN")
    parser.add("--split", "the split (do not select models on test)", choices=SPLITS, default="val")
    parser.flag("--quality", "measure the quality of generated images")
    features = "for --quality: auto, random, or a FILE"
    parser.add("--features", features, type=_text_of_path, default="auto")
    samples = "for --quality: how many images to generate, at most the size of the test split"
    parser.add("--samples", samples, type=at_least(10), default=1000, metavar="N")
    parser.flag("--json", "print JSON")
    parser.flag("--tensorboard", "also add the metrics to the run's TensorBoard")
    _loading(parser)


@_verb
def predict(parser: Parser) -> None:
    """Classify images of any size and mode with a trained run.

    Prints a table to a terminal and CSV to a pipe; --out writes a file. The columns are the file,
    its class and probability, the same for each further task of the run (method.tasks), and the
    error if a file cannot be read.

    Examples:
      dlrun predict last cat.jpg dog.png
      dlrun predict last ~/pictures --top 3
      dlrun predict 261126-1015 'holiday/**/*.jpg' -o predicted.csv
      dlrun predict copied/best.pt ~/pictures --format jsonl | head
    """
    _run(parser)
    parser.add("images", _IMAGES, nargs="+", metavar="IMAGE")
    parser.add("--top", "the K most probable classes", type=at_least(1), default=1, metavar="K")
    parser.flag("--all", "add a column with the probability of each class")
    out = "a .csv, .json, .jsonl or .parquet file; - is stdout"
    parser.add("-o --out", out, type=_path, metavar="FILE")
    parser.add("--format", "the format, whatever the file name ends in", choices=_TABLES)
    _loading(parser)


@_verb
def embed(parser: Parser) -> None:
    """Compute features of images: float32 of shape (N, D), as .npy or .parquet.

    The names of the files are in X-names.tsv next to X.npy. Without images, a split of the run's
    own data set is used.

    Examples:
      dlrun embed last                                  the val split of its own data set
      dlrun embed last --split train -o train.npy
      dlrun embed last ~/pictures -o features.parquet
      dlrun embed last ~/pictures --picture tsne --neighbours --projector
    """
    _run(parser)
    parser.add("images", _IMAGES, nargs="*", metavar="IMAGE")
    parser.add("--split", "the split, if no images are given", choices=SPLITS, default="val")
    out = "a .npy or .parquet file (default: in made/ in the run's folder)"
    parser.add("-o --out", out, type=_path, metavar="FILE")
    plot = "plot the features in two dimensions, coloured by class (default: pca)"
    parser.add("--picture", plot, nargs="?", const="pca", choices=("pca", "tsne", "umap"))
    parser.flag("--neighbours", "save a grid of images next to their nearest neighbours")
    parser.flag("--projector", "write files for TensorBoard's projector, with thumbnails")
    sample = "show at most N images in pictures and the projector"
    parser.add("--sample", sample, type=at_least(3), default=5000, metavar="N")
    parser.add("--seed", "the seed of t-SNE and UMAP", type=at_least(0), default=0)
    _loading(parser)


@_verb
def sample(parser: Parser) -> None:
    """Generate images with a generative run; the same seed gives the same images.

    Examples:
      dlrun sample last
      dlrun sample last -n 100 --seed 7 -o clothes.png
      dlrun sample copied/best.pt -n 1000 --single -o many/
    """
    _run(parser)
    parser.add("-n", "how many images", type=at_least(1), default=64)
    parser.add("--seed", "the random seed", type=at_least(0), default=0)
    _pictures(parser)
    _loading(parser)


@_verb
def reconstruct(parser: Parser) -> None:
    """Show images, and below them their reconstructions by the model.

    Examples:
      dlrun reconstruct last shirt.png bag.jpg
      dlrun reconstruct last ~/pictures -n 32 -o both.png
    """
    _run(parser)
    parser.add("images", _IMAGES, nargs="+", metavar="IMAGE")
    parser.add("-n", "at most N images", type=at_least(1), default=64)
    _pictures(parser)
    _loading(parser)


@_verb
def interpolate(parser: Parser) -> None:
    """Interpolate between two images in the latent space of a run.

    Examples:
      dlrun interpolate last shirt.png trousers.png
      dlrun interpolate last a.jpg b.jpg --steps 24 --gif
    """
    _run(parser)
    parser.add("a", "an image file", metavar="A")
    parser.add("b", "another one", metavar="B")
    parser.add("--steps", "how many images", type=at_least(2), default=12, metavar="N")
    _pictures(parser, animated=True)
    _loading(parser)


@_verb
def traverse(parser: Parser) -> None:
    """Show what each latent dimension does: a row of images for each dimension.

    One dimension at a time moves from 3 standard deviations below its mean to 3 above; dimensions
    that vary most come first. Mean and deviation are measured on the val split, or on the images of
    --among; with --prior they are 0 and 1.

    Examples:
      dlrun traverse last
      dlrun traverse last --image shirt.png --dims 0 3 7 --gif
      dlrun traverse last --among ~/pictures
    """
    _run(parser)
    parser.add("--image", "the image to start from (default: the mean code)", metavar="FILE")
    dims = "which dimensions (default: the 10 that vary most)"
    parser.add("--dims", dims, type=at_least(0), nargs="+", metavar="I")
    parser.add("--steps", "how many images in a row", type=at_least(2), default=11, metavar="N")
    parser.add("--among", "measure mean and deviation on these images", nargs="+", metavar="IMAGE")
    parser.flag("--prior", "use mean and deviation of the prior N(0, 1)")
    _pictures(parser, animated=True)
    _loading(parser)


@_verb
def translate(parser: Parser) -> None:
    """Translate a folder of images into the other domain of an unpaired method.

    Names, sub-folders and sizes are kept: each image is resized to the model's size, and its
    translation back. If it is stopped, the same command continues it.

    Examples:
      dlrun translate last horses/ as-deer/ --to deer
      dlrun translate last photos/ out/ --to B
      dlrun translate copied/best.pt photos/ out/ --to A --overwrite
    """
    _run(parser)
    parser.add("images", "a folder of images", type=_path, metavar="IN")
    parser.add("out", "the folder to write to", type=_path, metavar="OUT")
    domain = "the target domain, A, B or its name; or a direction, a_to_b or b_to_a"
    parser.add("--to", domain, required=True, metavar="DOMAIN")
    parser.flag("--overwrite", "also translate images that OUT already has")
    _loading(parser)


@_verb
def export(parser: Parser) -> None:
    """Export a trained network as safetensors, torchvision, ONNX or torch.export.

    They need no dlrun. Each file is compared with the original network on test images:
      safetensors    all weights that inference needs
      torchvision    a state dict of the backbone and its classifier, which torchvision loads
      onnx           a program for each verb that the run supports; any batch size, pixels in [0, 1]
      torch_export   the same for torch.export.load
    A model card is added: data, licence, metrics, and the command that reproduces the run.

    Examples:
      dlrun export last
      dlrun export last --format onnx -o served/
      dlrun export copied/best.pt --data-dir ~/data --force
    """
    _run(parser)
    parser.add("-o --out", "default: export/ in the run's folder", type=_path, metavar="FOLDER")
    formats = ("safetensors", "torchvision", "onnx", "torch_export")
    parser.add("--format", "default: all that apply", nargs="+", metavar="FORMAT", choices=formats)
    parser.flag("--force", "replace an older export")
    parser.add(
        "--data-dir",
        "where the data is (default: as in its config)",
        type=_text_of_path,
        metavar="FOLDER",
    )
    _loading(parser, device=False)


@_verb
def rm(parser: Parser) -> None:
    """Delete runs with everything in their folders; asks first.

    Examples:
      dlrun rm 261126-0201                     by the beginning of its name
      dlrun rm losses seed=7                   the runs of a sweep that have seed 7
      dlrun rm status=failed --dry-run         only list them

    A run that is being trained is never deleted. There is a warning if the config of another run
    names it, as a student names its teacher; that run has its own copy of what it needs. If two
    sweeps share a job, one of them has a link to it: deleting it from that sweep deletes the link;
    deleting the run itself deletes its links too, after a warning.
    """
    _runs(parser)
    _deleting(parser)


@_verb
def gc(parser: Parser) -> None:
    """Free disk space: delete failed and empty runs and old checkpoints; asks first.

    Kinds:
      failed       runs that failed
      empty        folders without a config that are older than an hour, runs without a single
                   step, and links of sweeps to deleted runs
      checkpoints  last.pt of completed runs older than --days that have a best.pt; they can be
                   used but not trained further
      temporary    unfinished files of processes that were killed
      decoded      decoded images in the cache, of folders that are gone or have changed, or that
                   were not used for --days; they are decoded again when needed

    Examples:
      dlrun gc --dry-run                         only list them, with their sizes
      dlrun gc failed empty
      dlrun gc checkpoints --days 0 --yes        for scripts

    A run that is being trained is never touched. A failed run that the config of another run names
    is kept and listed (`dlrun rm` deletes it).
    """
    kinds = ("failed", "empty", "checkpoints", "temporary", "decoded")
    parser.add("kinds", "default: all kinds", nargs="*", metavar="KIND", choices=kinds)
    days = "delete checkpoints and decoded images older than N days"
    parser.add("--days", days, type=at_least(0.0), default=30.0, metavar="N")
    _data_dir(parser)
    _deleting(parser)
    _outputs(parser)


@_verb
def doctor(parser: Parser) -> None:
    """Show the hardware, its speed, what dlrun would use, and which data is here."""
    _data_dir(parser)


@_verb
def completion(parser: Parser) -> None:
    """Print a script that completes verbs, flags, options and runs in your shell.

    Load it in the shell's startup file:
      bash    ~/.bashrc                     eval "$(dlrun completion bash)"
      zsh     ~/.zshrc                      eval "$(dlrun completion zsh)"
      fish    ~/.config/fish/config.fish    dlrun completion fish | source
    """
    parser.add("shell", "the shell", choices=SHELLS)
