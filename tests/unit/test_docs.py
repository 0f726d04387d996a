"""The documents: links lead somewhere, and nothing that can be chosen or typed is left out."""

import re
from pathlib import Path

import pytest

from dlrun.commands.parsers import VERBS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FILE = re.compile(r"`(\w+/[\w/.]+)`")
_FOLDERS = {"dlrun", "benchmarks", "tests"} | {f.name for f in (ROOT / "dlrun").iterdir()}


def anchors(document: Path) -> set[str]:
    """Those of its headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in _LINK.findall(document.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def is_there(name: str) -> bool:
    """A file or folder, by its path below the root or below dlrun/, with or without its .py."""
    where = (ROOT, ROOT / "dlrun")
    found = any((folder / f"{name}{end}").exists() for folder in where for end in ("", ".py"))
    return found or name.endswith("/name.py")  # the reader's own


def test_every_file_of_the_tree_that_is_named_is_there() -> None:
    missing = []
    for document in DOCUMENTS:
        text = document.read_text()
        if document.parent.name == "decisions" and "\nSuperseded by" in text:
            continue  # it says what there was
        named = [name for name in _FILE.findall(text) if name.partition("/")[0] in _FOLDERS]
        missing += [f"{document.name}: {name}" for name in named if not is_there(name)]
    assert not missing


def test_the_guide_names_every_option_of_every_group() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    options = {
        path.stem for path in (ROOT / "conf").glob("*/*.yaml") if path.parent.name != "launcher"
    }
    assert len(options) > 90
    assert sorted(option for option in options if f"`{option}`" not in guide) == []


def test_the_guide_names_every_command() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    assert [verb for verb in VERBS if f"dlrun {verb}" not in guide] == []
