"""What to make and where: prompts with their settings -> jobs, one at a time, however long the list. Needs no torch."""

import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any
from unicodedata import category

from soradit.errors import SoraditError, UsageError, first_line
from soradit.files import is_video_name
from soradit.model.config import check_prompt

FLAGS: dict[str, tuple[str, type]] = {
    "seed": ("seed", int),
    "steps": ("steps", int),
    "guidance": ("guidance", float),
    "negative": ("negative", str),
    "size": ("size", str),
    "width": ("width", int),
    "height": ("height", int),
    "frames": ("num_frames", int),
    "fps": ("fps", int),
    "image": ("image", Path),
    "output": ("output", Path),
    # As musubi-tuner's prompt files have them.
    "d": ("seed", int),
    "s": ("steps", int),
    "g": ("guidance", float),
    "n": ("negative", str),
    "w": ("width", int),
    "h": ("height", int),
    "f": ("num_frames", int),
    "i": ("image", Path),
    "o": ("output", Path),
}
"""Flags inside a line, and keys of a JSON line: what they set, and of what kind it is."""
MAX_PROMPT = 16_384
"""Characters: far more than a text encoder reads, few enough for a file's tags."""
KINDS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
FLAG = re.compile(r"(?:^|\s)(?:--([A-Za-z][\w-]*)|-(o))(?:[\s=]\s*|$)")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One video to make."""

    prompt: str
    negative: str = ""
    seed: int = 0
    output: Path
    place: str = ""
    """The file and line that asks for it."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What is set otherwise than the weights' own settings."""
    image: Path | None = None
    """What the first frame shows."""
    continued: Path | None = None
    """The video to go on from."""

    def __post_init__(self) -> None:
        if self.image is not None and self.continued is not None:
            about = f"the prompt {self.prompt[:40]!r} has an image, and a video to continue"
            raise UsageError(f"{about}: begin with one of them")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """This process's part of the jobs: every ``count``-th, from ``index`` on (from 0)."""

    index: int
    count: int


Order = Mapping[str, Any]
"""What one line asks for: ``prompt``, and what it sets otherwise than the command line."""


def read_orders(source: str) -> Iterator[Order | SoraditError]:
    """Orders from a file or (``-``) stdin, a line each, read as they are needed; an error stands for a bad line.

    Blank lines and # comments are left out. Raises SoraditError when the file can't be read.
    """
    name = "stdin" if source == "-" else source
    try:
        with io.TextIOWrapper(
            sys.stdin.buffer if source == "-" else open(source, "rb"), encoding="utf-8-sig", errors="surrogateescape"
        ) as lines:
            for number, line in enumerate(lines, 1):
                text = line.strip()
                place = f"{name}, line {number}"
                if "\0" in text:
                    raise SoraditError(f"{place}: holds a zero byte: give a file of text")
                if text and not text.startswith("#"):
                    try:
                        check_prompt(text)
                        yield {**parse_line(text), "place": place}
                    except SoraditError as error:
                        yield SoraditError(f"{place}: {error}")
    except OSError as error:
        raise SoraditError(f"can't read prompts from {source}: {error.strerror or error}") from error


def parse_line(text: str) -> Order:
    """``a storm --seed 7 --size 384x256 -o storm.mp4`` or ``{"prompt": "a storm", "seed": 7}``.

    A flag's value reaches to the next flag; quotes around it are left out, and around the prompt. Raises SoraditError
    for what isn't known.
    """
    if text.startswith("{"):
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SoraditError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
        except (ValueError, RecursionError) as error:  # endless numbers, bottomless lists
            raise SoraditError(f"not JSON: {first_line(error)}") from error
        if not isinstance(given.get("prompt"), str):
            raise SoraditError('has no "prompt"' if "prompt" not in given else 'its "prompt" is no text')
        pairs = [(key, value) for key, value in given.items() if key != "prompt"]
        return _order(given["prompt"], pairs)
    prompt, *rest = FLAG.split(text)
    flags, values = [long or short for long, short in zip(rest[::3], rest[1::3], strict=True)], rest[2::3]
    return _order(_unquoted(prompt), list(zip(flags, map(_unquoted, values), strict=True)))


def _order(prompt: str, pairs: list[tuple[str, Any]]) -> Order:
    order: dict[str, Any] = {"prompt": prompt}
    for flag, value in pairs:
        if flag not in FLAGS:
            raise SoraditError(f"{flag} is not known: use {', '.join(name for name in FLAGS if len(name) > 1)}")
        name, kind = FLAGS[flag]
        try:
            order[name] = kind(value if isinstance(value, str) else _number(value, kind))
            if kind is Path and b"\0" in os.fsencode(value):  # which fails for half a surrogate pair
                raise ValueError
        except (TypeError, ValueError, OverflowError) as error:
            raise SoraditError(f"{flag} {value!r} is not {KINDS[kind]}") from error
    if (size := order.pop("size", None)) is not None:
        order["height"], order["width"] = parse_size(size)
    return order


def parse_size(size: str) -> tuple[int, int]:
    """``WIDTHxHEIGHT`` -> height, width."""
    if not (match := re.fullmatch(r"(\d{1,9})[xX×](\d{1,9})", size)):
        raise UsageError(f"size {size!r} is not WIDTHxHEIGHT, such as 256x256")
    return int(match[2]), int(match[1])


def new_folder_of(output: str) -> Path | None:
    """The folder that a name with a slash at its end stands for, where it isn't there yet; a video's name is none."""
    path = Path(output)
    is_folder = output.endswith(("/", os.sep)) and not is_video_name(path)
    return path if is_folder and not path.exists() else None


def plan(
    orders: Iterable[Order | SoraditError],
    *,
    output: Path | None = None,
    new_folder: Path | None = None,
    common: Order | None = None,
    count: int = 1,
    shard: Shard | None = None,
) -> Iterator[Job | SoraditError]:
    """One job an order and seed, with names that tell them apart; an error stands for one that can't be.

    ``output`` is a file for a single video, a folder (``new_folder`` if it is to be made), or a file whose name is
    extended by numbers; None names each by its prompt and seed, in the current folder. ``common`` holds for orders that
    don't say otherwise; seeds count up from an order's own. A name depends on the whole list, never on the shard.
    Raises SoraditError for no orders, and for an output that no video could be written to.
    """
    is_folder = output is not None and (output == new_folder or output.is_dir())
    is_file = output is not None and bool(output.suffix) and (is_video_name(output) or not is_folder)
    if output is not None and not is_file and not is_folder:
        what = "is a file of another kind; give another name"
        why = what if output.exists() else f"no such folder; to have it made, write {output}/"
        raise SoraditError(f"{output}: {why}")
    wanted = ((order, i) for order in orders for i in range(1 if isinstance(order, SoraditError) else count))
    first_two = list(islice(wanted, 2))
    if not first_two:
        raise SoraditError("no prompts: give one, or a file of them with --prompts")
    names = _Names(output, is_file=is_file, single=len(first_two) == 1)
    for index, (order, i) in enumerate(chain(first_two, wanted)):
        job = order if isinstance(order, SoraditError) else _job({**(common or {}), **order}, i, index, names)
        if shard is None or index % shard.count == shard.index:
            yield job


def placed(error: SoraditError, place: str) -> SoraditError:
    """The error, with where what it is about was asked for, if anywhere."""
    return type(error)(f"{place}: {error}") if place else error


def _job(order: Order, i: int, index: int, names: "_Names") -> Job | SoraditError:
    try:
        return _make_job(dict(order), i, index, names)
    except SoraditError as error:
        return placed(error, order.get("place", ""))


def _make_job(options: dict[str, Any], i: int, index: int, names: "_Names") -> Job:
    prompt, negative, seed = options.pop("prompt"), options.pop("negative", ""), options.pop("seed", 0) + i
    for text in (prompt, negative):
        check_prompt(text)
        if len(text) > MAX_PROMPT:
            raise UsageError(f"the prompt {text[:40]!r}... has {len(text)} characters: {MAX_PROMPT} are the most")
    given = options.pop("output", None)
    return Job(
        place=options.pop("place", ""),
        prompt=prompt,
        negative=negative,
        seed=seed,
        output=names.given(given, i) if given is not None else names.make(prompt, seed, index),
        image=options.pop("image", None),
        continued=options.pop("continued", None),
        overrides=options,
    )


class _Names:
    """Names for videos, none twice, whatever the prompts; remembers a hash of each, a million in 80 MB."""

    def __init__(self, output: Path | None, *, is_file: bool, single: bool) -> None:
        self.output, self.is_file, self.single = output, is_file, single
        self.used: set[int] = set()
        self.repeats: dict[str, int] = {}

    def given(self, path: Path, i: int) -> Path:
        """A name that an order asks for; later videos of the same order are numbered."""
        return self._claim(_numbered(path, i) if i else path)

    def make(self, prompt: str, seed: int, index: int) -> Path:
        output = self.output or Path()
        if self.is_file:
            return self._claim(output if self.single else _numbered(output, index))
        name = f"{_slug(prompt)}-{seed}"
        while True:
            repeat = self.repeats.get(name, 1)
            path = output / f"{name}{f'-{repeat}' if repeat > 1 else ''}.mp4"
            if self._take(path):
                return path
            self.repeats[name] = repeat + 1

    def _claim(self, path: Path) -> Path:
        if not self._take(path):
            raise SoraditError(f"{path}: is the name of an earlier video too; give each its own")
        return path

    def _take(self, path: Path) -> bool:
        key = int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "big")
        is_new = key not in self.used
        self.used.add(key)
        return is_new


def _numbered(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}-{index:03d}{path.suffix}")


def _slug(prompt: str) -> str:
    """A file name from a prompt: letters of any script, in lower case, and digits; at most 60 characters, 180 bytes."""
    letters = (c if category(c)[0] in "LMN" else " " for c in prompt.lower())
    name = "-".join("".join(letters).split())[:60]
    return name.encode()[:180].decode(errors="ignore").strip("-") or "video"


def _number(value: Any, kind: type) -> Any:
    """JSON's numbers, where numbers are wanted, and whole ones where those are."""
    if kind not in (int, float) or isinstance(value, bool) or kind(value) != value:
        raise ValueError
    return value


def _unquoted(text: str) -> str:
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]
    return text[1:-1] if is_quoted else text


def choose_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """``2/8`` is the second of eight; ``auto`` is what SLURM (array and tasks) or torchrun say of this process.

    Raises SoraditError for anything else.
    """
    if text != "auto":
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"shard {text!r} is not I/N with I from 1 to N, such as 2/8, nor auto")
        return Shard(index=int(match[1]) - 1, count=int(match[2]))

    def number(name: str, default: int) -> int:
        value = environment.get(name, "")
        return int(value) if value.isdigit() else default

    shard = None
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, step = number("SLURM_ARRAY_TASK_MIN", 0), max(1, number("SLURM_ARRAY_TASK_STEP", 1))
        count, task = number("SLURM_ARRAY_TASK_COUNT", 1), number("SLURM_ARRAY_TASK_ID", first)
        tasks = range(first, number("SLURM_ARRAY_TASK_MAX", first + step * (count - 1)) + 1, step)
        if len(tasks) != count or task not in tasks:  # --array=1,5,9: which is the second, nothing says
            remedy = "use a range such as --array=0-3, or --shard I/N"
            raise SoraditError(f"--shard auto can't number the tasks of such an array: {remedy}")
        shard = Shard(index=tasks.index(task), count=count)
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in environment and size in environment:  # torchrun's first: inside srun both are set
            outer = shard or Shard(index=0, count=1)
            return Shard(index=outer.index * number(size, 1) + number(rank, 0), count=outer.count * number(size, 1))
    if shard is None:
        raise SoraditError("--shard auto finds neither SLURM's nor torchrun's variables here: give --shard I/N")
    return shard
