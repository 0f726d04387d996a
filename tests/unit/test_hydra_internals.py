"""The names that Hydra does not promise to keep, which dlrun uses because nothing public does it.

Checked for Hydra 1.3.8 up to 1.4, as pyproject.toml asks for: a newer one has to be looked at here.
"""

import ast
from importlib.metadata import version
from pathlib import Path

import dlrun

EXPECTED = {
    "config/compose.py": {"hydra._internal.hydra.Hydra",
                          "hydra._internal.utils.create_config_search_path"},
    "sweeps/hydra.py": {"hydra._internal.callbacks.Callbacks"},
}  # fmt: skip


def test_they_are_few_and_there() -> None:
    package = Path(dlrun.__file__).parent
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hydra._"):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found.setdefault(str(path.relative_to(package)), set()).update(names)
    assert found == EXPECTED
    assert (1, 3, 8) <= tuple(map(int, version("hydra-core").split(".")[:3])) < (1, 4)


def test_what_they_do() -> None:
    """`Callbacks` makes those of hydra.callbacks; the search path takes further sources."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.utils import create_config_search_path
    from omegaconf import OmegaConf

    assert Callbacks(OmegaConf.create({"hydra": {"callbacks": {}}})).callbacks == []
    path = create_config_search_path("pkg://dlrun.conf")
    assert "pkg://dlrun.conf" in [entry.path for entry in path.get_path()]
