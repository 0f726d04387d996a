"""The arguments of every verb: each flag, choice and help text of dlrun is written here.

A verb is a function that adds its arguments to a parser; its docstring is what `--help` shows.
Completion reads the same parsers. Imports neither torch nor Hydra nor rich.
"""

import argparse
from argparse import Action, ArgumentError, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, NoReturn

from dlrun.errors import UserError
from dlrun.text import suggest

SPLITS = ("train", "val", "test")
SHELLS = ("bash", "zsh", "fish")
_DEVICES = ("auto", "cpu", "cuda", "mps")
_TABLES = ("csv", "json", "jsonl", "parquet")


class Parser(argparse.ArgumentParser):
    """argparse, where a mistake is a UserError that says what is expected."""

    def __init__(self, verb: str, docstring: str, **options: Any) -> None:
        first, _, rest = docstring.partition("\n")
        description, examples, epilog = f"{first}\n{dedent(rest)}".partition("Examples:\n")
        super().__init__(
            prog=f"dlrun {verb}", description=description.rstrip(), epilog=examples + epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options,
        )  # fmt: skip

    def add(self, names: str, text: str | None = None, **options: Any) -> None:
        """Adds an argument: `names` such as "-o --out", `text` for its help."""
        if text is not None and options.get("default", []) != []:
            text += " (default: %(default)s)"
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
            raise ArgumentError(action, f"got {value}{suggest(str(value), action.choices)}")


_VERBS: dict[str, Callable[[Parser], None]] = {}


def _verb(add: Callable[[Parser], None]) -> Callable[[Parser], None]:
    """Makes a function the verb of its own name."""
    _VERBS[add.__name__] = add
    return add


def parser_of(verb: str) -> Parser:
    """The parser of one of VERBS."""
    add = _VERBS[verb]
    # With --help, train and tune print their config groups and keys.
    parser = Parser(verb, add.__doc__ or "", add_help=verb not in ("train", "tune"))
    add(parser)
    return parser


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
        raise UserError(f"{unknown[0]}: unknown argument{suggest(flag, flags, listed=more)}")
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
            raise ArgumentTypeError(f"got {text}, expected {kind} >= {least:g}")
        return value

    return number


def _path(text: str) -> Path:
    return Path(text).expanduser()


# What several verbs share. Completion knows what the metavars RUN, SWEEP and KEY=VALUE stand for.
_RUN = "a run's folder, its name, the beginning of its name, or 'last'"
_IMAGES = "files, folders (with everything below them) or patterns"
_RUNS = """\
Which runs:
  RUN      its folder, its name, the name=... that it was given, the beginning of its name, or last
  SWEEP    its name, the beginning of its name, or a folder with runs below it
  FILTER   KEY=VALUE, such as method=byol, seed=0,1, status=failed, 'optimizer.lr<0.01'; all filters
           must hold; without RUN and SWEEP they select among all runs

"""


def _outputs(parser: Parser) -> None:
    parser.add("--outputs", "where runs are", type=_path, metavar="FOLDER", default="outputs")


def _overrides(parser: Parser) -> None:
    parser.add("overrides", nargs="*", metavar="KEY=VALUE")
    parser.flag("-h --help")
    parser.add("-cd --config-dir", metavar="FOLDER")


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
    parser.flag("--yes -y", "do not ask, for scripts")
    parser.flag("--dry-run -n", "list, and delete nothing")


@_verb
def train(parser: Parser) -> None:
    """The flags of Hydra that work here; others would be ignored silently."""
    _overrides(parser)
    infos = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    parser.flag("-m --multirun")
    parser.add("-c --cfg", choices=("job", "hydra", "all"))
    parser.add("-i --info", nargs="?", const="all", choices=infos)
    parser.flag("--hydra-help")


@_verb
def tune(parser: Parser) -> None:
    """The study itself is configured by keys: tune.trials=100."""
    _overrides(parser)


@_verb
def resume(parser: Parser) -> None:
    """Resume a run that was interrupted, killed or failed, at the step of its last checkpoint.

    The run keeps its config. To change it, start a new run.

    Examples:
      dlrun resume last
      dlrun resume 261126-1015
    """
    parser.add("run", _RUN, metavar="RUN")
    devices = "train in N processes (default: as before)"
    parser.add("--devices", devices, type=at_least(1), metavar="N")
    _outputs(parser)


@_verb
def ls(parser: Parser) -> None:
    """List runs, also those of sweeps, oldest first.

    Examples:
      dlrun ls                                   all runs below outputs/
      dlrun ls method=byol status=failed         both must hold
      dlrun ls status=failed,interrupted         one of several values
      dlrun ls 'optimizer.lr<0.01' 'test.accuracy>0.9'
                                                 compared as numbers (quote < and >)
      dlrun ls losses --sort val.best --reverse  one sweep, highest first
      dlrun ls --sort seconds --limit 5 --csv

    Keys of filters and --sort: every key of config.yaml (seed, optimizer.lr, model, ...); status,
    run, done, step, seconds; val.best; test.METRIC of the best checkpoint, test.last.METRIC of the
    last one. The table has the latest 50 runs; --json and --csv have all of them.
    """
    _runs(parser, "*")
    parser.add("--sort", "sort by a key, lowest first", metavar="KEY")
    parser.flag("--reverse", "reverse the order")
    limits = parser.add_mutually_exclusive_group()
    limit = "the last N runs; with --sort, the first N"
    limits.add_argument("--limit", type=at_least(1), metavar="N", help=limit)
    limits.add_argument("--all", action="store_true", help="all runs, in the table too")
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
    """Compare runs: the config keys that differ, then the metrics.

    Examples:
      dlrun compare 261126-0201 last           two runs, by the beginning of their names
      dlrun compare losses                     every run of the sweep of that name
      dlrun compare losses seed=0,1,2 --metric accuracy
      dlrun compare method=byol,siamese dataset=cifar10

    Runs that differ only in their seed share a column: mean ± standard deviation (n - 1), and n.
    `best` is the checkpoint that the val split chose, `last` the end of training. Unfinished runs
    are excluded. Where two columns share two or more seeds, the other columns are compared with A:
    the mean difference over these seeds, its 95% interval, and the p-value of a paired t-test, not
    corrected for the number of tests.
    """
    _runs(parser)
    metric = "show only this metric; may be repeated"
    parser.add("--metric", metric, action="append", default=[], metavar="NAME")
    _formats(parser, "with a row for each number")


@_verb
def plot(parser: Parser) -> None:
    """Plot curves over steps or seconds, in the terminal or to a file.

    Examples:
      dlrun plot last
      dlrun plot losses --metric train/loss --over seconds
      dlrun plot method=byol,vae dataset=cifar10 --metric val/knn --out knn.png
      dlrun plot losses --out curves.html      the picture and its numbers

    Runs that differ only in their seed are one curve: their mean, with a band of one standard
    deviation on either side, at the steps that all completed runs have. If none is completed, all
    of them are used. With --over seconds, a point is at the mean time of its step.
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

    Runs that differ only in their seed count as one config. The config of each method with the best
    mean of its key metric on val is its entry. Entries are ranked by the test split, at the
    checkpoints that val chose: the test split chooses neither config nor checkpoint.
    """
    _runs(parser, "*")
    metric = "a metric of the test split (default: the one that most methods have)"
    parser.add("--metric", metric, metavar="NAME")
    _formats(parser, "with a row for each method")


@_verb
def report(parser: Parser) -> None:
    """Write one self-contained HTML file about a run, several runs or a sweep.

    It has metrics, curves, pictures, config and provenance, and needs neither network nor server.

    Examples:
      dlrun report last --open
      dlrun report losses                          a sweep, by its name
      dlrun report losses seed=0                   runs of a sweep, those with seed 0
      dlrun report 261126-1015 261126-1130 -o both.html
    """
    _runs(parser)
    out = "default: report.html in the folder of the run or sweep; here, for several"
    parser.add("-o --out", out, type=_path, metavar="FILE")
    parser.flag("--open", "open it in the browser")


@_verb
def evaluate(parser: Parser) -> None:
    """Compute every metric that applies to a run, next to what was recorded during its training.

    Options such as dataset.root=... change the data set. --quality measures generated images
    instead: KID, FID, precision and recall on the test split. They are added to the run, where ls,
    compare, leaderboard and report find them.

    Examples:
      dlrun evaluate last
      dlrun evaluate last --split test --json
      dlrun evaluate 261126-1015 261126-1130 --tensorboard
      dlrun evaluate last dataset=image_folder dataset.root=~/pictures --split test
      dlrun evaluate copied/best.pt dataset.root=/elsewhere/pictures
      dlrun evaluate last --quality

    --features: `auto` compares the features of a small classifier, which is trained once for each
    data set in about 10 s; `random` those of an untrained one; a file of Inception v3 (that of the
    published FIDs, pt_inception-2015-12-05-6726825d.pth, or torchvision's) gives standard FIDs.
    """
    parser.add("runs", f"{_RUN}; or a checkpoint file; and dataset=...", nargs="+", metavar="RUN")
    parser.add("--split", "the split; choose nothing by test", choices=SPLITS, default="val")
    parser.flag("--quality", "measure the quality of generated images")
    parser.add("--features", "for --quality: auto, random, or a FILE", default="auto")
    samples = "for --quality: images to generate, at most as many as the test split has"
    parser.add("--samples", samples, type=at_least(10), default=1000, metavar="N")
    parser.flag("--json", "print JSON")
    parser.flag("--tensorboard", "also add the metrics to the run's TensorBoard")
    _loading(parser)


@_verb
def predict(parser: Parser) -> None:
    """Classify images of any size and mode with a trained run.

    Prints a table to a terminal and CSV to a pipe; --out writes a file. The columns are the file,
    the class and its probability, the same for each further task that the run was trained on
    (method.tasks), and why a file could not be read.

    Examples:
      dlrun predict last cat.jpg dog.png
      dlrun predict last ~/pictures --top 3
      dlrun predict 261126-1015 'holiday/**/*.jpg' -o predicted.csv
      dlrun predict copied/best.pt ~/pictures --format jsonl | head
    """
    _run(parser)
    parser.add("images", _IMAGES, nargs="+", metavar="IMAGE")
    parser.add("--top", "the K most probable classes", type=at_least(1), default=1, metavar="K")
    parser.flag("--all", "add a column for each class")
    parser.add(
        "-o --out",
        "a .csv, .json, .jsonl or .parquet file; - is stdout",
        type=_path,
        metavar="FILE",
    )
    parser.add("--format", "the format, whatever the file's name ends in", choices=_TABLES)
    _loading(parser)


@_verb
def embed(parser: Parser) -> None:
    """Compute features of images: float32 of shape (N, D), as .npy or .parquet.

    Next to X.npy, X-names.tsv has the names of the files. Without images, a split of the run's own
    data set is used.

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
    parser.flag("--neighbours", "save a grid of images and their nearest ones")
    parser.flag("--projector", "write TensorBoard's projector, with thumbnails")
    sample = "show at most N images in pictures and the projector"
    parser.add("--sample", sample, type=at_least(3), default=5000, metavar="N")
    parser.add("--seed", "of t-SNE and UMAP", type=at_least(0), default=0)
    _loading(parser)


@_verb
def sample(parser: Parser) -> None:
    """Generate images with a generative run. The same seed gives the same images.

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

    Each dimension is moved by itself from 3 standard deviations below to 3 above; those that vary
    most come first. Mean and deviation are measured on the val split, or on --among; --prior takes
    0 and 1.

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
    parser.add("--among", "images to measure mean and deviation on", nargs="+", metavar="IMAGE")
    parser.flag("--prior", "take those of the prior, N(0, 1)")
    _pictures(parser, animated=True)
    _loading(parser)


@_verb
def translate(parser: Parser) -> None:
    """Translate every image below a folder with a run of an unpaired method.

    Names, sub-folders and sizes are kept: each image is resized to the model's size, and its
    translation back. The same command again continues where it was stopped.

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
    parser.flag("--overwrite", "also translate what is in OUT already")
    _loading(parser)


@_verb
def export(parser: Parser) -> None:
    """Export a trained network for use without dlrun.

    Each file is first compared with the original, on images of the test split:
      safetensors    all weights that inference needs
      torchvision    a state dict of the backbone and its classifier, which torchvision loads
      onnx           a program for each thing the run can do; any batch size, pixels in [0, 1]
      torch_export   the same for torch.export.load
    A model card is added: data, licence, metrics, the command to reproduce the run.

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
    parser.add("--data-dir", "where its data is (default: as in its config)", metavar="FOLDER")
    _loading(parser, device=False)


@_verb
def rm(parser: Parser) -> None:
    """Delete runs with everything in their folders.

    Examples:
      dlrun rm 261126-0201                     by the beginning of its name
      dlrun rm losses seed=7                   runs of a sweep, those with seed 7
      dlrun rm status=failed --dry-run         only list them

    A run that is being trained is never deleted. You are warned if the config of another run names
    it, as a student names its teacher; the other run has its own copy of what it needs. If two
    sweeps share a job, deleting it from the sweep that only has a link to it deletes the link;
    deleting the run itself deletes all links to it, after a warning.
    """
    _runs(parser)
    _deleting(parser)


@_verb
def gc(parser: Parser) -> None:
    """Delete what no result depends on: failed and empty runs, old checkpoints.

    Kinds:
      failed       runs that failed
      empty        folders that have no config an hour after they were made, runs without a single
                   step, and links of sweeps to deleted runs
      checkpoints  last.pt of completed runs older than --days that have a best.pt; they can be
                   used but not trained further
      temporary    unfinished files of processes that were killed

    Examples:
      dlrun gc --dry-run                         only list them, with their sizes
      dlrun gc failed empty
      dlrun gc checkpoints --days 0 --yes        for scripts

    A run that is being trained is never touched. A failed one that the config of another run names
    is kept, and you are told (`dlrun rm` deletes it).
    """
    kinds = ("failed", "empty", "checkpoints", "temporary")
    parser.add("kinds", "default: all of them", nargs="*", metavar="KIND", choices=kinds)
    days = "delete checkpoints older than this"
    parser.add("--days", days, type=at_least(0.0), default=30.0, metavar="N")
    _deleting(parser)
    _outputs(parser)


@_verb
def doctor(parser: Parser) -> None:
    """Show the hardware that was found, what dlrun would use, its speed, and which data is here."""
    parser.add("--data-dir", "the cache folder (default: the user's)", metavar="FOLDER")


@_verb
def completion(parser: Parser) -> None:
    """Print the completion script of a shell. Load it in the shell's startup file:

    bash    ~/.bashrc                     eval "$(dlrun completion bash)"
    zsh     ~/.zshrc                      eval "$(dlrun completion zsh)"
    fish    ~/.config/fish/config.fish    dlrun completion fish | source
    """
    parser.add("shell", "the shell", choices=SHELLS)
