"""`dlrun completion SHELL`: the script, and the answers that it asks for."""

import os
import shlex
from argparse import Action
from collections.abc import Sequence
from pathlib import Path

from dlrun.commands.parsers import VERBS, Parser, parse, parser_of
from dlrun.errors import UserError

# Each script asks `dlrun completion answer` with the line up to the cursor. Candidates are whole
# words. Where there are none, the shell completes files, also behind an =: dataset.root=~/pic<TAB>.
# After a candidate that ends in = or . comes no space.
SCRIPTS = {
    # bash cuts words at = and @, too, and wants what follows.
    "bash": """\
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
""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_dlrun() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a found=(${(f)"$(DLRUN_LINE="$line" dlrun completion answer 2>/dev/null)"})
    if (( $#found )); then
        compadd -Q -S '' -- ${(M)found:#*[=.]}
        compadd -Q -- ${found:#*[=.]}
    else
        compset -P '*='
        _files
    fi
}
compdef _dlrun dlrun
""",
    "fish": """\
function __dlrun
    set -l line (commandline -cp)
    set -l found (DLRUN_LINE="$line" dlrun completion answer 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        set -l parts (string match -r '^(.*=|)(.*)$' -- (commandline -ct))
        string replace -r '^' -- "$parts[2]" (__fish_complete_path "$parts[3]")
    end
end
complete -c dlrun -f -a '(__dlrun)'
""",
}


def run(arguments: list[str]) -> int:
    """Prints the script of a shell."""
    if arguments == ["answer"]:
        print("".join(f"{word}\n" for word in complete(os.environ.get("DLRUN_LINE", ""))), end="")
        return 0
    print(SCRIPTS[parse("completion", arguments).shell], end="")
    return 0


def complete(line: str) -> list[str]:
    """What the last word of `line`, a command line up to the cursor, may become."""
    start = line.rfind(" ") + 1
    word = line[start:]
    try:
        before = shlex.split(line[:start])[1:]
    except ValueError:  # within quotes
        return []
    if not before:
        found = list(VERBS)
    elif before[0] in VERBS:
        found = _arguments(parser_of(before[0]), before[1:], word)
    else:
        found = []
    return [candidate for candidate in found if candidate.startswith(word)]


def _arguments(parser: Parser, before: Sequence[str], word: str) -> list[str]:
    """Flags if the word begins with a dash, else what is expected in its position."""
    flags = {name: action for action in parser.arguments for name in action.option_strings}
    if word.startswith("-"):
        return sorted({max(action.option_strings, key=len) for action in flags.values()})
    given, others, flag = _read(flags, before)
    if flag is not None:
        return _values(flag, before, word, given)
    positional = [action for action in parser.arguments if not action.option_strings]
    if positional and positional[-1].nargs in ("*", "+"):
        others = min(others, len(positional) - 1)
    return _values(positional[others], before, word, given) if others < len(positional) else []


def _read(
    flags: dict[str, Action], before: Sequence[str]
) -> tuple[dict[str, str], int, Action | None]:
    """The values of flags, the number of other words, and the flag whose value comes next."""
    given: dict[str, str] = {}
    others, flag = 0, None
    for word in before:
        if word in flags:
            flag = flags[word] if flags[word].nargs != 0 else None
        elif flag is not None:
            given[flag.dest] = word
            flag = flag if flag.nargs == "+" else None
        elif not word.startswith("-"):
            others += 1
    return given, others, flag


def _values(action: Action, before: Sequence[str], word: str, given: dict[str, str]) -> list[str]:
    """The choices of an argument, or what its metavar stands for."""
    if action.choices is not None:
        return list(action.choices)
    kinds = str(action.metavar).split(" | ")
    outputs = Path(given.get("outputs", "outputs"))
    found: list[str] = []
    if "RUN" in kinds:
        found += _runs(outputs)
    if "SWEEP" in kinds:
        found += sorted(path.name for path in (outputs / "sweeps").glob("*/"))
    if "KEY=VALUE" in kinds:
        found += _overrides(before, word, given.get("config_dir"))
    return found


def _runs(outputs: Path) -> list[str]:
    from dlrun.runs.run import runs_below

    names = [run.name for run in runs_below(outputs)]
    return [*names, "last"] if names else []


def _overrides(before: Sequence[str], word: str, config_dir: str | None) -> list[str]:
    """Groups, their options, and keys of the config that the words before give."""
    from dlrun.config.compose import composer, user_config_dir
    from dlrun.config.typed import ABSENT
    from dlrun.text import flatten, show

    with composer(user_config_dir(config_dir)) as own:
        groups = own.options
        given = [text for text in before if "=" in text and "," not in text]
        try:
            plain, _ = own.compose(given)
        except UserError:
            plain, _ = own.compose([])
    key, equals, value = word.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if equals and group in groups:
        done, comma, _ = value.rpartition(",")
        return [f"{key}={done}{comma}{option}" for option in groups[group]]
    values = flatten(plain)
    if equals:
        known = key in values and values[key] != ABSENT and not value
        return [f"{key}={shlex.quote(show(values[key]))}"] if known else []
    names = [f"{name}=" for name in (*groups, *values) if not name.endswith(".name")]
    # Keys within a group come once the group's name and a dot are typed.
    section = f"{word.partition('.')[0]}."
    return sorted({name for name in names if "." not in name or name.startswith(section)})
