"""What a step is: its words, the matrices it draws, and the production code that computes them."""

import ast
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import soradit
from soradit.errors import UsageError

NUM_STEPS = 14
WORKSHEETS = (".html", ".md")
"""What a worksheet can be, by its suffix."""


class Kind(Enum):
    """What a matrix holds; each has its colour, as the exercise's learners know them, and its border."""

    PIXELS = "pixels"
    LATENTS = "latents"
    NOISE = "noise"
    CONDITIONS = "conditions"
    LEARNABLE = "learnable"
    FROZEN = "frozen"
    OTHER = "other"


class Role(Enum):
    """What a worksheet prints of a matrix."""

    GIVEN = "given"
    RESULT = "result"
    """Blanks to be filled in."""
    CARRIED = "carried"
    """A result of an earlier step: its name only."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers as they are drawn: on paper a patch is a column."""

    name: str
    """Its key in the JSON; the same matrix has the same name in every step."""
    label: str
    rows: tuple[tuple[float | None, ...], ...]
    """None is a blank."""
    kind: Kind
    role: Role

    def blanked(self) -> "Matrix":
        return replace(self, rows=tuple((None,) * len(row) for row in self.rows))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame as shades of grey, for the eye only."""

    label: str
    pixels: tuple[tuple[float | None, ...], ...]
    given: bool


Term = Matrix | Picture | str
"""A string is an operator."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A function or class of the product, found by its name, so that a reference can't point at a wrong line."""

    path: str
    """Below the folder that holds the package."""
    name: str

    @property
    def line(self) -> int:
        """Where it begins; LookupError when it isn't there."""
        body: list[ast.stmt] = _parsed(self.path).body
        for part in self.name.split("."):
            node = next((n for n in body if isinstance(n, _DEFINITIONS) and n.name == part), None)
            if node is None:
                raise LookupError(f"{self.path} has no {self.name}")
            body = node.body
        assert node is not None
        return node.lineno

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.name}"


_DEFINITIONS = ast.FunctionDef, ast.ClassDef


@cache
def _parsed(path: str) -> ast.Module:
    return ast.parse((Path(soradit.__file__).parent.parent / path).read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said of a step."""

    title: str
    sentence: str
    by_hand: str
    """How to do it with a pencil."""
    simpler: str
    """What the exercise leaves out of the product, and where that choice is made."""
    code: tuple[str, ...]
    """The product's functions and classes that compute it: ``model/dit.py modulate`` and the like."""
    equations: tuple[str, ...]
    """Names of matrices, ``shown:`` before a frame's for its picture, and operators between them."""
    asked: str = ""
    """The matrix that the quiz asks about; nothing is asked where there is none."""
    facts: tuple[tuple[str, Any], ...] = ()
    """Given values that are no matrices."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One of the 14."""

    number: int
    words: Words
    equations: tuple[tuple[Term, ...], ...]

    @property
    def code(self) -> list[Code]:
        pairs = (reference.split() for reference in self.words.code)
        return [Code(path=f"soradit/{path}", name=name) for path, name in pairs]

    @property
    def matrices(self) -> dict[str, Matrix]:
        """By name, in order."""
        found: dict[str, Matrix] = {}
        for term in (term for equation in self.equations for term in equation):
            if isinstance(term, Matrix):
                found.setdefault(term.name, term)
        return found

    def without_results(self) -> "Step":
        """Its results as blanks, and no pictures of them."""

        def without(term: Term) -> Term | None:
            if isinstance(term, Matrix) and term.role is Role.RESULT:
                return term.blanked()
            return None if isinstance(term, Picture) and not term.given else term

        return self._with_terms(without)

    def with_names_for(self, known: Container[str]) -> "Step":
        """What earlier steps gave, by its name only where that is one of those that are ``known``."""

        def named(term: Term) -> Term:
            if isinstance(term, Matrix) and term.role is Role.CARRIED and term.name in known:
                return term.label
            return term

        return self._with_terms(named)

    def _with_terms(self, change: Callable[[Term], Term | None]) -> "Step":
        """Change or (None) leave out terms, and equations of which only operators are left."""
        changed = (tuple(new for term in equation if (new := change(term)) is not None) for equation in self.equations)
        kept = tuple(equation for equation in changed if not all(isinstance(term, str) for term in equation))
        return replace(self, equations=kept)

    def to_dict(self) -> dict[str, Any]:
        return {
            "step": self.number,
            "title": self.words.title,
            "code": [str(code) for code in self.code],
            **dict(self.words.facts),
            "values": {name: matrix.rows for name, matrix in self.matrices.items()},
        }


def parse_selection(text: str | None) -> range:
    """``7`` or ``5-7`` -> the steps' numbers; None -> all of them."""
    if text is None:
        return range(1, NUM_STEPS + 1)
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise UsageError(f"--step {text} is neither a step nor steps: use 7 or 5-7")
    low, high = map(int, numbers)
    if not 1 <= low <= high <= NUM_STEPS:
        raise UsageError(f"--step {text} is not within 1-{NUM_STEPS}")
    return range(low, high + 1)


def number(value: float | None) -> str:
    """2, -0.25, 0.2977: at most four decimals, and none that say nothing; a blank to write on."""
    if value is None:
        return "__"
    return f"{round(value, 4) + 0.0:.4f}".rstrip("0").rstrip(".")
