"""`dlrun completion bash`: the script, and the answers it asks for."""

import argparse
import os

from dlrun.commands import VERBS
from dlrun.errors import UserError

# Words are joined by '=' here and cut at '=' by bash, so what stands before it is taken off again.
_BASH = """\
_dlrun() {
    local line="${COMP_LINE:0:$COMP_POINT}" word
    word="${line##* }"
    local IFS=$'\\n'
    COMPREPLY=($(DLRUN_LINE="$line" dlrun completion answer 2>/dev/null))
    if [[ "$word" == *=* ]]; then
        local before="${word%"${word##*=}"}"
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
    [[ "${#COMPREPLY[@]}" == 1 && "${COMPREPLY[0]}" != *[=.] ]] && compopt +o nospace
}
complete -o nospace -F _dlrun dlrun
"""
_RUN_VERBS = ("resume", "show")


def run(arguments: list[str]) -> int:
    """Prints the script for a shell."""
    parser = argparse.ArgumentParser(
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
    words = line.split(" ")
    typed = [word for word in words[1:] if word] + ([""] if line.endswith(" ") else [])
    if len(typed) <= 1:
        begun = typed[0] if typed else ""
        return [verb for verb in VERBS if verb.startswith(begun)]
    verb, word = typed[0], typed[-1]
    if verb in _RUN_VERBS:
        return _runs(word)
    return _overrides(typed[1:-1], word) if verb == "train" else []


def _runs(word: str) -> list[str]:
    from pathlib import Path

    from dlrun.runs.index import all_runs

    return [run.name for run in all_runs(Path("outputs")) if run.name.startswith(word)]


def _overrides(before: list[str], word: str) -> list[str]:
    """Groups, their options, and keys of the config that the words before give."""
    from dlrun.config.compose import compose_plain, config_source, group_options, user_config_dir
    from dlrun.config.typed import flatten, show

    with config_source(user_config_dir()) as loader:
        groups = group_options(loader)
    group, equals, begun = word.partition("=")
    if equals and group in groups:
        done, comma, begun = begun.rpartition(",")
        return [f"{group}={done}{comma}{o}" for o in groups[group] if o.startswith(begun)]
    try:
        plain = compose_plain(
            [text for text in before if "=" in text and "," not in text], user_config_dir()
        )
    except UserError:
        plain = compose_plain([], user_config_dir())
    keys = flatten(plain)
    if equals:
        return [f"{group}={show(keys[group])}"] if group in keys and not begun else []
    sections = [f"{name}=" for name in groups]
    names = [f"{key}=" for key in keys if not key.endswith(".name") and not key.startswith("hydra")]
    # Keys inside of groups come once their group's name and a dot are typed.
    names = [
        name for name in names if "." not in name or word.startswith(name.partition(".")[0] + ".")
    ]
    return sorted({c for c in (*sections, *names) if c.startswith(word)})
