"""Files with an index: whole or not there, found again after any end, written once by several processes."""

import errno
import os
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from soradit.errors import SoraditError
from soradit.training import tensor_store as tensor_store_module
from soradit.training.tensor_store import INDEX, TensorStore, share_out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(folder: Path, *names: str) -> None:
    with TensorStore(folder) as store:
        for name in names:
            store.write(name, {"x": torch.full((3,), float(ord(name[0])))})


def test_the_order_of_writing_leaves_no_trace(tmp_path: Path) -> None:
    write(tmp_path / "one", "a", "b", "c")
    write(tmp_path / "two", "c")
    write(tmp_path / "two", "b", "a")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert load_file(tmp_path / "one" / "a.safetensors")["x"].tolist() == [97.0] * 3


@pytest.mark.parametrize("place", ["half a file", "no line", "half a line", "no index", "lines out of order"])
def test_whatever_a_dead_process_leaves_is_put_right(tmp_path: Path, place: str) -> None:
    write(tmp_path / "whole", "a", "b")
    folder = tmp_path / "cut"
    write(folder, "b", "a")
    index = folder / INDEX
    lines = index.read_bytes().splitlines(keepends=True)
    if place == "half a file":
        (folder / "b.safetensors").rename(folder / "b.safetensors.tmp")
        os.truncate(folder / "b.safetensors.tmp", 20)
    elif place == "no index":
        index.unlink()
    else:
        index.write_bytes(
            {"no line": lines[0], "half a line": lines[0] + lines[1][:20]}.get(place, lines[1] + lines[0])
        )
    with TensorStore(folder) as store:
        missing = [name for name in ("a", "b") if not store.find(name)]
    assert missing == (["b"] if place == "half a file" else [])
    write(folder, *missing)
    assert contents(folder) == contents(tmp_path / "whole")


def test_what_another_process_did_meanwhile_is_found(tmp_path: Path) -> None:
    done: list[str] = []
    found: list[str] = []
    with TensorStore(tmp_path) as store:

        def work(names: Iterable[str]) -> None:
            for name in names:
                write(tmp_path, name, *("c" if name == "a" else ""))
                store.release(name)
                done.append(name)

        share_out(["a", "b", "c", "d"], store, work, tell=lambda: None, found=found.append)
    assert (done, found) == (["a", "b", "d"], ["c"])


def test_damage_is_remembered(tmp_path: Path) -> None:
    with TensorStore(tmp_path) as store:
        store.write("a", {"x": torch.zeros(1)}, damage="ends early")
    (tmp_path / INDEX).unlink()
    for _ in range(2):
        with TensorStore(tmp_path) as store:
            assert store.find("a").damage == "ends early"


def test_verify_finds_a_flipped_bit_and_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", "c")
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(content)
    (tmp_path / "b.safetensors").unlink()
    with TensorStore(tmp_path) as store:
        assert store.find("a")  # of the right length
        assert sorted(store.verify()) == ["a", "b"]
        assert not store.find("a")
    with TensorStore(tmp_path) as store:
        assert store.verify() == []
        assert store.indexed() == ["c"]


def claim(folder: Path, names: list[str], connection: Any) -> None:
    with TensorStore(folder) as store:
        connection.send([store.claim(name) for name in names])
        connection.recv()


def test_claims_hold_against_others_and_end_with_the_process(tmp_path: Path) -> None:
    context = get_context("spawn")
    with TensorStore(tmp_path) as store:
        assert store.claim("a")
        ours, theirs = context.Pipe()
        process = context.Process(target=claim, args=(tmp_path, ["a", "b"], theirs))
        process.start()
        assert ours.recv() == [False, True]
        assert [store.claim("b"), store.claim("c")] == [False, True]
        process.kill()
        process.join()
        assert store.claim("b")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with TensorStore(tmp_path) as store:
        monkeypatch.setattr(tensor_store_module.os, "fsync", full)
        with pytest.raises(SoraditError, match=r"can't write the cache .* \(No space left on device\): choose another"):
            store.write("a", {"x": torch.zeros(1)})
        monkeypatch.undo()
        assert not store.find("a")


def test_a_sound_file_stays_when_its_line_cant_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TensorStore(tmp_path) as store:
        store.write("a", {"x": torch.zeros(1)})
    (tmp_path / "index.jsonl").unlink()

    def full(store: TensorStore, *entry: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with TensorStore(tmp_path) as store:
        monkeypatch.setattr(TensorStore, "_add", full)
        with pytest.raises(SoraditError, match="No space left on device"):
            store.find("a")
        monkeypatch.undo()
        assert store.find("a")


def test_a_folder_is_let_go_of_even_when_its_index_cant_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = TensorStore(tmp_path)
    for name in "ba":
        store.write(name, {"x": torch.zeros(1)})
    monkeypatch.setattr(tensor_store_module, "_replace", full)
    with pytest.raises(SoraditError, match="No space left"):
        store.close()
    assert store._lock.closed
