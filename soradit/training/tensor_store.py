"""A folder of safetensors files with an index, that survives whatever stops a process, and several at once.

    FOLDER/NAME.safetensors     whole, or not there
    FOLDER/index.jsonl          a line a file: its name, bytes and SHA-256
    FOLDER/lock                 empty; its bytes are locked, one a name, so that nothing is left locked by the dead

A file is written beside its place and moved there, then its line is appended. So a file without a line is whole, and
gets its line the next time; a line without its file, or with another length, is void. ``close`` sorts the lines: the
same files give the same bytes, in whatever order and however often interrupted they were written.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soradit.errors import SoraditError
from soradit.locks import locked, try_lock, unlock

INDEX = "index.jsonl"
SUFFIX = ".safetensors"
WAIT_SECONDS = 0.5
"""Between looks at what another process writes."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the index."""

    name: str
    bytes: int
    sha256: str
    damage: str | None = None
    """What is wrong with the clip behind it, where it was used up to its damage."""


class TensorStore:
    """One process's hold on such a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises SoraditError when it can't be written."""
        self.folder = folder
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(folder / "lock", "ab")  # noqa: SIM115 (to close it is to give up every lock)
        self.entries = {name: entry for name, entry in self._read_index().items() if self._is_there(entry)}

    def __enter__(self) -> "TensorStore":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def find(self, name: str) -> Entry | None:
        """The entry of a file that is there, whoever wrote it. Raises SoraditError when its line can't be written."""
        if name not in self.entries and self.path(name).is_file():
            with _writing(self.folder):
                try:
                    with safe_open(self.path(name), framework="pt") as file:
                        damage = (file.metadata() or {}).get("damage")
                    self._add(name, self.path(name).read_bytes(), damage)
                except SafetensorError:
                    self.path(name).unlink(missing_ok=True)
        return self.entries.get(name)

    def write(self, name: str, tensors: dict[str, Tensor], *, damage: str | None = None) -> None:
        """Save tensors as float16. Raises SoraditError when the disk is full, or may not be written to."""
        halves = {key: tensor.to(torch.float16).cpu().contiguous() for key, tensor in tensors.items()}
        content = save(halves, {"damage": damage} if damage else None)
        with _writing(self.folder):
            _replace(self.path(name), content)
            self._add(name, content, damage)

    def claim(self, name: str) -> bool:
        """Whether the name is this process's to write: no other one has claimed it, or those are dead."""
        return try_lock(self._lock, _place(name))

    def release(self, name: str) -> None:
        unlock(self._lock, _place(name))

    def indexed(self) -> list[str]:
        """All names in the index, also those whose files are gone."""
        return sorted(self._read_index())

    def verify(self) -> list[str]:
        """Read everything again; delete the files that are not what the index says, and name them."""
        wrong = [name for name, entry in self._read_index().items() if not self._is_sound(entry)]
        for name in wrong:
            self.entries.pop(name, None)
            self.path(name).unlink(missing_ok=True)
        return wrong

    def close(self) -> None:
        """Put the index in order, unless nothing was ever written."""
        with self._lock, _writing(self.folder), locked(self._lock):
            entries = [entry for entry in self._read_index().values() if self._is_there(entry)]
            content = "".join(_line(entry) for entry in sorted(entries, key=lambda entry: entry.name)).encode()
            if content != self._index_bytes():
                _replace(self.folder / INDEX, content)

    def _add(self, name: str, content: bytes, damage: str | None) -> None:
        entry = Entry(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), damage=damage)
        with locked(self._lock), open(self.folder / INDEX, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # torn
                    file.write(b"\n")
            file.write(_line(entry).encode())
        self.entries[name] = entry

    def _index_bytes(self) -> bytes:
        path = self.folder / INDEX
        return path.read_bytes() if path.is_file() else b""

    def _read_index(self) -> dict[str, Entry]:
        """Lines torn by a sudden end are skipped; the last one of a name counts."""
        entries = {}
        for line in self._index_bytes().splitlines():
            try:
                entry = Entry(**json.loads(line))
                entries[entry.name] = entry
            except (ValueError, TypeError):
                continue
        return entries

    def _is_there(self, entry: Entry) -> bool:
        try:
            return self.path(entry.name).stat().st_size == entry.bytes
        except OSError:
            return False

    def _is_sound(self, entry: Entry) -> bool:
        try:
            return hashlib.sha256(self.path(entry.name).read_bytes()).hexdigest() == entry.sha256
        except OSError:
            return False


def share_out(
    names: list[str],
    store: TensorStore,
    work: Callable[[Iterable[str]], None],
    *,
    tell: Callable[[], None],
    found: Callable[[str], None],
) -> None:
    """Do the work on the names that no other process is at; then look what those have left undone.

    ``tell`` is called before each name, ``found`` with each that another process has done meanwhile.
    """
    busy: list[str] = []

    def claimed() -> Iterator[str]:
        for name in names:
            tell()
            if not store.claim(name):
                busy.append(name)
            elif store.find(name):
                store.release(name)
                found(name)
            else:
                yield name

    while names:
        work(claimed())  # holds no claim when it is done, so that no two processes wait for each other
        names[:], busy[:] = busy, []
        if names:
            time.sleep(WAIT_SECONDS)


def _place(name: str) -> int:
    """The byte of the lock file that stands for a name; byte 0 is the index's."""
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def _line(entry: Entry) -> str:
    fields = {key: value for key, value in asdict(entry).items() if value is not None}
    return json.dumps(fields) + "\n"


def _replace(path: Path, content: bytes) -> None:
    """Only who has claimed a name writes it, so that what a dead process left half-written is written over."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"can't write the cache {folder} ({error.strerror})"
        raise SoraditError(f"{why}: choose another (encode -o, train --cache)") from error
