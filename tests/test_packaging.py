"""What pyproject.toml says of the package is true."""

import ast
import sys
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

import soradit

PACKAGE = Path(soradit.__file__).parent
COMES_WITH = {"av": "imageio", "tokenizers": "transformers", "PIL": "pillow", "tensorboardX": "tensorboardx"}
"""Modules that are imported, by the dependency that brings them."""
EXTRAS = ("evaluate", "parquet")
"""What commands can use, but do without."""


def dependencies() -> set[str]:
    """The modules that pyproject.toml's dependencies, those of commands' extras too, are imported as."""
    declared = [Requirement(line) for line in requires("soradit") or []]
    used = [
        one for one in declared if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in EXTRAS)
    ]
    return {one.name.replace("-", "_") for one in used}


def imported_modules() -> set[str]:
    """Top-level names of all modules that the package imports, anywhere in its files."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names


def test_version_is_the_metadata_s() -> None:
    assert soradit.__version__ == version("soradit")


def test_every_dependency_is_imported() -> None:
    modules = imported_modules()
    assert dependencies() - modules - {COMES_WITH.get(name, name) for name in modules} == set()


def test_every_import_is_a_dependency() -> None:
    third_party = imported_modules() - set(sys.stdlib_module_names) - {"soradit"}
    assert {COMES_WITH.get(name, name) for name in third_party} - dependencies() == set()
