"""`dlrun completion bash`: the script, and the answers it asks for."""

import os
import shlex
from itertools import pairwise
from pathlib import Path

from dlrun.commands import VERBS
from dlrun.commands.arguments import Parser
from dlrun.errors import UserError

# A candidate is a whole word, but bash cuts words at '=' and '@' too and wants what follows. Where
# there is no candidate, readline completes files (-o default): dataset.root=~/pic<TAB>.
_BASH = """\
_dlrun() {
    local line="${COMP_LINE:0:$COMP_POINT}" candidate
    local word="${line##* }"
    local before="${word%"${word##*[$COMP_WORDBREAKS]}"}"
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate#"$before"}")
    done < <(DLRUN_LINE="$line" dlrun completion answer 2>/dev/null)
    if [[ "${#COMPREPLY[@]}" == 1 && "${COMPREPLY[0]}" != *[=.] ]]; then
        compopt +o nospace 2>/dev/null
    fi
}
complete -o nospace -o default -F _dlrun dlrun
"""
_USING = ("--device", "--help", "--outputs", "--which")
_WITH_RUN = (
    "resume", "show", "evaluate", "predict", "translate", "export", "sample", "reconstruct",
    "interpolate", "traverse", "embed",
)  # fmt: skip
_WITH_SWEEP = ("ls", "report", "compare", "plot", "leaderboard", "rm")
_THEN_FILES = ("predict", "embed", "translate", "reconstruct", "interpolate", "traverse")
_FLAGS = {
    "train": ("--cfg", "--config-dir", "--help", "--multirun"),
    "tune": ("--config-dir", "--help"),
    "resume": ("--devices", "--help", "--outputs"),
    "show": ("--help", "--outputs"),
    "compare": ("--csv", "--help", "--json", "--metric", "--outputs"),
    "leaderboard": ("--csv", "--help", "--json", "--metric", "--outputs"),
    "plot": ("--help", "--metric", "--out", "--outputs", "--over"),
    "report": ("--help", "--open", "--out", "--outputs"),
    "evaluate": (*_USING, "--json", "--split", "--tensorboard"),
    "predict": (*_USING, "--all", "--format", "--out", "--top"),
    "translate": (*_USING, "--overwrite", "--to"),
    "embed": (
        *_USING, "--neighbours", "--out", "--picture", "--projector", "--sample", "--seed",
        "--split",
    ),
    "sample": (*_USING, "--out", "--seed", "--single"),
    "reconstruct": (*_USING, "--out", "--single"),
    "interpolate": (*_USING, "--gif", "--out", "--single", "--steps"),
    "traverse": (
        *_USING, "--among", "--dims", "--gif", "--image", "--out", "--prior", "--single", "--steps",
    ),
    "export": ("--data-dir", "--force", "--format", "--help", "--out", "--outputs", "--which"),
    "rm": ("--dry-run", "--help", "--outputs", "--yes"),
    "gc": ("--days", "--dry-run", "--help", "--outputs", "--yes"),
    "ls": ("--all", "--csv", "--help", "--json", "--limit", "--outputs", "--reverse", "--sort"),
    "doctor": ("--data-dir", "--help"),
    "completion": ("--help", "bash"),
}  # fmt: skip


def run(arguments: list[str]) -> int:
    """Prints the script for a shell."""
    parser = Parser(
        prog="dlrun completion",
        description='Completion for bash: put  eval "$(dlrun completion bash)"  into ~/.bashrc.',
    )
    parser.add_argument(
        "shell", choices=("bash", "answer"), help="bash; the script itself asks for 'answer'"
    )
    options = parser.parse_args(arguments)
    if options.shell == "bash":
        print(_BASH, end="")
        return 0
    for candidate in complete(os.environ.get("DLRUN_LINE", "")):
        print(candidate)
    return 0


def complete(line: str) -> list[str]:
    """What the last word of `line`, a command line up to the cursor, may become."""
    start = line.rfind(" ") + 1
    word = line[start:]
    try:
        before = shlex.split(line[:start])[1:]
    except ValueError:  # inside of quotes
        return []
    if not before:
        return [verb for verb in VERBS if verb.startswith(word)]
    verb, *before = before
    candidates = [flag for flag in _FLAGS.get(verb, ()) if word and flag.startswith(word)]
    files = verb in _THEN_FILES and _positional(before)
    if verb in (*_WITH_RUN, *_WITH_SWEEP) and not files:
        outputs = _after("--outputs", before) or "outputs"
        candidates += _runs(outputs, word)
        if verb in _WITH_SWEEP:
            candidates += _sweeps(outputs, word)
    elif verb in ("train", "tune") and not word.startswith("-"):
        candidates += _overrides(before, word)
    elif verb == "completion" and not word:
        candidates.append("bash")
    return candidates


def _positional(words: list[str]) -> list[str]:
    """Those that are neither a flag nor the value of one that the verbs share."""
    valued = ("--device", "--outputs", "--which")
    pairs = zip(["", *words], words, strict=False)
    return [word for flag, word in pairs if flag not in valued and not word.startswith("-")]


def _after(flag: str, words: list[str]) -> str | None:
    """The value that `flag` has been given."""
    return next((value for name, value in pairwise(words) if name == flag), None)


def _runs(outputs: str, word: str) -> list[str]:
    from dlrun.runs.run import runs_below

    names = [run.name for run in runs_below(Path(outputs))]
    return [name for name in (*names, *(["last"] if names else [])) if name.startswith(word)]


def _sweeps(outputs: str, word: str) -> list[str]:
    from dlrun.runs.select import sweep_names

    return sweep_names(Path(outputs), word)


def _overrides(before: list[str], word: str) -> list[str]:
    """Groups, their options, and keys of the config that the words before give."""
    from dlrun.config.compose import composer, user_config_dir
    from dlrun.config.typed import ABSENT
    from dlrun.text import flatten, show

    config_dir = _after("--config-dir", before) or user_config_dir()
    with composer(config_dir) as own:
        groups = own.options
        given = [text for text in before if "=" in text and "," not in text]
        try:
            plain, _ = own.compose(given)
        except UserError:
            plain, _ = own.compose([])
    key, equals, begun = word.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if equals and group in groups:
        done, comma, begun = begun.rpartition(",")
        return [f"{key}={done}{comma}{o}" for o in groups[group] if o.startswith(begun)]
    values = flatten(plain)
    if equals:
        known = key in values and values[key] != ABSENT and not begun
        return [f"{key}={shlex.quote(show(values[key]))}"] if known else []
    names = [f"{name}=" for name in (*groups, *values) if not name.endswith(".name")]
    # Keys inside of groups come once their group's name and a dot are typed.
    section = f"{word.partition('.')[0]}."
    names = [name for name in names if "." not in name or name.startswith(section)]
    return sorted({name for name in names if name.startswith(word)})
