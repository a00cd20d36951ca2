"""Words that mean much the same, by WordNet 3 (Fellbaum 1998): ``apt-get install wordnet-base``."""

import re
from pathlib import Path

PARTS_OF_SPEECH = {"noun": "~", "adj": "&"}
"""And the pointer to what is like a meaning: a noun's kinds, and adjectives around one."""
COMMON = 2
"""A word's meanings that count, the most frequent ones."""


class WordNet:
    """Its nouns and adjectives."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has WordNet's files index.noun, data.noun and so on: wndb(5WN) is their format."""
        self.meanings: dict[tuple[str, str], list[str]] = {}
        self.words: dict[tuple[str, str], list[str]] = {}
        self.like: dict[tuple[str, str], list[str]] = {}
        for part, pointer in PARTS_OF_SPEECH.items():
            for fields in _rows(folder / f"index.{part}"):
                self.meanings[part, _plain(fields[0])] = fields[-int(fields[2]) :]
            for fields in _rows(folder / f"data.{part}"):
                end = 4 + 2 * int(fields[3], 16)
                pointers = zip(fields[end + 1 :: 4], fields[end + 2 :: 4], strict=False)
                self.words[part, fields[0]] = [_plain(word) for word in fields[4:end:2]]
                self.like[part, fields[0]] = [target for symbol, target in pointers if symbol == pointer]

    def alike(self, word: str) -> list[str]:
        """Words that first of all mean what a word commonly means, or a kind of it."""
        found: dict[str, None] = {}
        for part in PARTS_OF_SPEECH:
            for meaning in self.meanings.get((part, word), [])[:COMMON]:
                for near in (meaning, *self.like[part, meaning]):
                    same = (other for other in self.words[part, near] if self.meanings[part, other][0] == near)
                    found |= dict.fromkeys(same)
        return [other for other in found if other != word]


def _rows(path: Path) -> list[list[str]]:
    """Fields of the lines, without the licence at the top and the glosses at the end."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split(" | ")[0].split() for line in lines if not line.startswith("  ")]


def _plain(word: str) -> str:
    """Lower case, without a syntactic marker such as (p)."""
    return re.sub(r"\(\w+\)$", "", word).replace("_", " ").lower()
