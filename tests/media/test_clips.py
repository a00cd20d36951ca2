"""A folder of clips: captions in every form users keep them, and a clear line for everything else."""

import json
import os
import random
import sys
from pathlib import Path

import pytest
from PIL import Image

from soradit.errors import SoraditError
from soradit.media.clips import Clip, find_clips, split_clips, survey_clips


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path) -> dict[str, tuple[str, ...]]:
    return {clip.path.relative_to(folder).as_posix(): clip.captions for clip in find_clips(folder)}


def test_text_beside_the_clip_in_subfolders_too(tmp_path: Path) -> None:
    touch(tmp_path, "b.MOV", "a/-dash.mp4", ".hidden.mp4", ".cache/c.mp4", "notes.pdf")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfa blue\r\nsky \r\n")
    (tmp_path / "a/-dash.txt").write_text("夕焼け\n", encoding="utf-8")
    assert found(tmp_path) == {"a/-dash.mp4": ("夕焼け",), "b.MOV": ("a blue sky",)}
    assert [clip.path.name for clip in find_clips(tmp_path)] == ["-dash.mp4", "b.MOV"]


def test_runs_among_the_clips_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "run/model_index.json", "run/log.txt", "run/samples/step-00000100/0.mp4", "other/b.mp4")
    for name in ("a", "other/b"):
        (tmp_path / f"{name}.txt").write_text("sky")
    assert found(tmp_path) == {"a.mp4": ("sky",), "other/b.mp4": ("sky",)}
    assert survey_clips(tmp_path).stray_texts == []


def test_jsonl(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.gif")
    rows = [
        {"file_name": "a.mp4", "text": "one", "id": 3},
        {"file_name": "./sub/b.gif", "text": ["two", "three"]},
        {"file_name": "a.mp4", "text": "once more"},
    ]
    content = "\ufeff" + "\r\n\r\n".join(map(json.dumps, rows)) + "\r\n"
    (tmp_path / "metadata.jsonl").write_bytes(content.encode())
    assert found(tmp_path) == {"a.mp4": ("one", "once more"), "sub/b.gif": ("two", "three")}


def test_csv(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    content = '\ufefftext,file_name,id\r\n"red, then\nblue",a.mp4,1\r\n\r\ngrey,b.mp4,2\r\n'
    (tmp_path / "metadata.csv").write_bytes(content.encode())
    assert found(tmp_path) == {"a.mp4": ("red, then blue",), "b.mp4": ("grey",)}


def test_text_fills_in_for_clips_without_a_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.mp4,one\n")
    (tmp_path / "b.txt").write_text("two")
    assert found(tmp_path) == {"a.mp4": ("one",), "b.mp4": ("two",)}


def test_clips_without_caption(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "a.txt").write_text(" \n")
    (tmp_path / "b.txt").write_text("two")
    with pytest.raises(SoraditError, match=r"a\.mp4: has no caption .*1 of 2.*a\.txt"):
        find_clips(tmp_path)
    assert [clip.captions for clip in survey_clips(tmp_path).clips] == [(), ("two",)]


def test_folders_without_clips(tmp_path: Path) -> None:
    with pytest.raises(SoraditError, match=r"none: no such folder"):
        find_clips(tmp_path / "none")
    touch(tmp_path, "file")
    with pytest.raises(SoraditError, match=r"file: is not a folder"):
        find_clips(tmp_path / "file")
    with pytest.raises(SoraditError, match=r"holds no clips; looked for \.mp4 .*\.webp"):
        find_clips(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"file_name": "a.mp4", "text": "x"}\n{oops\n', r"metadata\.jsonl:2: is not JSON"),
        (b"\n[1]\n", r":2: is not a JSON object"),
        (b'{"file_name": "a.mp4", "text": "\xff"}\n', r":1: is not UTF-8"),
        (b'{"text": "x"}', r":1: needs a file_name"),
        (b'{"file_name": "a\\u0000.mp4", "text": "x"}', r":1: needs a file_name"),
        (b'{"file_name": "a.mp4"}', r":1: needs a text"),
        (b'{"file_name": "a.mp4", "text": ["x", 1]}', r":1: needs a text"),
        (b'{"file_name": "gone.mp4", "text": "x"}', r":1: names .*gone\.mp4, which does not exist"),
        (b'{"file_name": "notes.pdf", "text": "x"}', r":1: names .*notes\.pdf, which is no video or image"),
        (b'{"file_name": "/etc/a.mp4", "text": "x"}', r":1: /etc/a\.mp4 leads out of"),
        (b'{"file_name": "C:\\\\a.mp4", "text": "x"}', r":1: .*leads out of"),
        (b'{"file_name": "sub/../../a.mp4", "text": "x"}', r":1: .*leads out of"),
        (b'{"file_name": "..\\\\a.mp4", "text": "x"}', r":1: .*leads out of"),
        (b'{"file_name": "https://x.org/a.mp4", "text": "x"}', r":1: .*leads out of"),
        (b'{"file_name": "link.mp4", "text": "x"}', r":1: link\.mp4 leads out of"),
        (b'{"file_name": "\\ud800.mp4", "text": "x"}', r":1: its file_name can't be a file's"),
        (b'{"file_name": "' + b"a" * 999 + b'.mp4", "text": "x"}', r":1: its file_name can't be a file's"),
        (b'{"file_name": "loop.mp4", "text": "x"}', r":1: "),
        (b'{"file_name": "a.mp4", "text": "\\udc80"}', r":1: its text holds half a surrogate pair"),
        (b'{"file_name": "a.mp4", "text": "x", "text": "y"}', r":1: is not JSON: a name stands twice"),
        (b"[" * 99999, r":1: is not JSON"),
        ('{"file_name": "a.mp4", "text": "x"}'.encode("utf-16"), r":1: is not UTF-8"),
    ],
)
def test_bad_jsonl(tmp_path: Path, content: bytes, message: str) -> None:
    folder = tmp_path / "clips"
    touch(folder, "a.mp4", "notes.pdf")
    touch(tmp_path, "outside.mp4")
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "metadata.jsonl").write_bytes(content)
    with pytest.raises(SoraditError, match=message):
        find_clips(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"metadata\.csv:1: has no column file_name and no column text"),
        (b"file_name,caption\na.mp4,x\n", r":1: has no column text"),
        (b"file_name,text,text\na.mp4,x,y\n", r":1: has 2 columns text"),
        (b"file_name,text\na.mp4\n", r":2: needs a text"),
        (b"file_name,text\na.mp4,a red sunset, clouds drift left\n", r":2: has more fields than columns; put a text"),
        (b"file_name,text\na.mp4,\xe9\n", r":2: is not UTF-8"),
        (b'file_name,text\na.mp4,"x\n', r":2: is not CSV"),
        (b"file_name,text\n\n../a.mp4,x\n", r":3: .*leads out of"),
    ],
)
def test_bad_csv(tmp_path: Path, content: bytes, message: str) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(SoraditError, match=message):
        find_clips(tmp_path)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    touch(tmp_path, "a.mp4", "b.mp4")

    def write(**columns: list) -> None:
        parquet.write_table(pyarrow.table(columns), tmp_path / "metadata.parquet")

    write(file_name=["a.mp4", "b.mp4", "a.mp4"], text=["one", "two", "three"])
    assert found(tmp_path) == {"a.mp4": ("one", "three"), "b.mp4": ("two",)}
    write(file_name=["a.mp4", "b.mp4"], text=[["one", "two"], ["three"]])
    assert found(tmp_path) == {"a.mp4": ("one", "two"), "b.mp4": ("three",)}
    write(file_name=["a.mp4", "../b.mp4"], text=["one", "two"])
    with pytest.raises(SoraditError, match=r"metadata\.parquet:2: \.\./b\.mp4 leads out of"):
        find_clips(tmp_path)
    write(file_name=["a.mp4"], caption=["one"])
    with pytest.raises(SoraditError, match=r"metadata\.parquet: has no column text"):
        find_clips(tmp_path)
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(SoraditError, match=r"metadata\.parquet: is not Parquet, or damaged"):
        find_clips(tmp_path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    touch(tmp_path, "a.mp4", "metadata.parquet")
    with pytest.raises(SoraditError, match=r"metadata\.parquet: needs pyarrow .* pip install"):
        find_clips(tmp_path)


def test_images_are_clips_where_they_are_captioned(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.jpg", "b.png", "c.png", "d.webp", "e.jpg")
    for name in ("a", "b", "d"):
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "metadata.csv").write_text("file_name,text\ne.jpg,five\n")
    assert found(tmp_path) == {"a.mp4": ("a",), "b.png": ("b",), "d.webp": ("d",), "e.jpg": ("five",)}


def test_a_webp_that_does_not_move_is_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    frames = [Image.new("RGB", (8, 8), (grey, grey, grey)) for grey in (40, 200)]
    for name in ("a", "b", "c"):
        frames[0].save(tmp_path / f"{name}.webp")
    frames[0].save(tmp_path / "d.webp", save_all=True, append_images=frames[1:])
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)
    os.mkfifo(tmp_path / "e.webp")
    assert [clip.path.name for clip in survey_clips(tmp_path).clips] == ["a.mp4", "b.webp", "d.webp", "e.webp"]


def test_a_caption_given_twice_is_remarked(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.mp4,one\na.mp4,two\na.mp4,one\n")
    survey = survey_clips(tmp_path)
    assert survey.problems == []
    assert survey.remarks == [f"{tmp_path / 'metadata.csv'}:4: gives a.mp4 a caption that it has already: one"]


def test_two_metadata_files_are_one_too_many(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "metadata.csv", "metadata.jsonl")
    with pytest.raises(SoraditError, match="keep one"):
        find_clips(tmp_path)


def test_bad_text_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "a.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(SoraditError, match=r"a\.txt:2: is not UTF-8"):
        find_clips(tmp_path)


def named(count: int) -> list[Clip]:
    return [Clip(path=Path(f"clips/{number}.mp4"), captions=("x",)) for number in range(count)]


def test_split_depends_on_the_name_alone() -> None:
    clips = named(1000)
    train, held_out = split_clips(clips)
    assert 25 < len(held_out) < 80
    assert sorted(train + held_out, key=clips.index) == clips
    shuffled = random.Random(0).sample(clips, 500)
    assert set(map(id, split_clips(shuffled)[1])) == set(map(id, shuffled)) & set(map(id, held_out))
    moved = [Clip(path=Path("elsewhere", clip.path.name), captions=("y",)) for clip in clips]
    assert [clip.path.name for clip in split_clips(moved)[1]] == [clip.path.name for clip in held_out]


@pytest.mark.parametrize("fraction", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_both_sides_of_a_small_split_hold_a_clip(count: int, fraction: float) -> None:
    train, held_out = split_clips(named(count), held_out_fraction=fraction)
    assert train
    assert held_out
    assert len(train) + len(held_out) == count


def test_a_single_clip_is_trained_on() -> None:
    assert split_clips(named(1), held_out_fraction=1.0) == (named(1), [])
    assert split_clips([]) == ([], [])
