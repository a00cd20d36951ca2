"""Checking: each file told right, the sums add up, nothing stops it, and it agrees with what training does."""

import csv
import html
import json
import os
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from soradit.errors import SoraditError
from soradit.media.clips import Clip, find_clips, split_clips, survey_clips
from soradit.media.inspection import _constant_rate, inspecting
from soradit.media.reading import Reading, look_at
from soradit.media.writing import write_video
from soradit.model.autoencoder import Autoencoder, AutoencoderConfig
from soradit.model.config import GenerationConfig
from soradit.model.weights import save_autoencoder, save_generation_config, write_index
from soradit.report import Report
from soradit.sheet import Card, render_sheet
from soradit.tasks.check import check, check_clip
from soradit.tasks.checked import Checked
from soradit.tasks.encode import encode
from soradit.training.cache import segments_of
from soradit.training.reading import SEGMENT_FRAMES

SHARED_CLIPS = Path(__file__).parents[3] / "shared" / "clips"
CONFIG = GenerationConfig(height=32, width=32, num_frames=8, fps=8)


class Notes(Report):
    """A report that is kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What checking needs of a folder of weights: a token's size, and what to train at."""
    folder = tmp_path_factory.mktemp("weights")
    config = AutoencoderConfig(widths=(8, 8, 8), blocks_per_stage=1, latent_channels=4)
    save_autoencoder(folder, config, Autoencoder(config).state_dict())
    save_generation_config(folder, CONFIG)
    write_index(folder)
    return folder


def write_clip(path: Path, *, num_frames: int = 8, caption: str | None = "a grey sky", grey: int = 0) -> Path:
    """32x64 pixels at 8 fps, of one grey, which makes its bytes its own."""
    write_video(path, np.full((num_frames, 32, 64, 3), grey, np.uint8), fps=8)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def look(path: Path, config: GenerationConfig, **options: bool) -> Checked:
    """The row of one file, read in this process."""
    reading = Reading(
        height=config.height,
        width=config.width,
        fps=config.fps,
        token_size=(4, 32, 32),
        max_segment_frames=SEGMENT_FRAMES,
        **options,
    )
    row = Checked(name=path.name, clip=Clip(path=path, captions=("sky",)), reading=reading)
    findings = filter(None, look_at(path, reading, thumbnails=False))
    return check_clip(row, findings, window_frames=config.num_frames)


@pytest.fixture
def checked(small_weights: Path) -> Callable[..., tuple[dict[str, Checked], list[str], str]]:
    """Check a folder: its rows by name, the summary, and the error that it ends with, if any."""

    def run(folder: Path, max_bad: float = 1.0, **options: object) -> tuple[dict[str, Checked], list[str], str]:
        rows, notes, error = {}, Notes(), ""
        try:
            for row in check(
                folder, weights=str(small_weights), overrides={}, max_bad=max_bad, report=notes, **options
            ):
                rows[row.name] = row
        except SoraditError as raised:
            error = str(raised)
        return rows, notes.lines, error

    return run


def test_every_file_gets_a_row_and_the_sums_add_up(checked: Callable, tmp_path: Path) -> None:
    write_clip(tmp_path / "good.mp4", num_frames=16)
    write_clip(tmp_path / "twin.mp4", num_frames=16, caption="x")
    write_clip(tmp_path / "long.mp4", num_frames=11, caption="空")
    write_clip(tmp_path / "short.mp4", num_frames=7)
    write_clip(tmp_path / "bare.mp4", caption=None)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "stray.txt").write_text("a caption of nothing")
    rows, notes, error = checked(tmp_path)
    assert {name: row.verdict for name, row in rows.items()} == {
        "bare.mp4": "dropped",
        "good.mp4": "used",
        "long.mp4": "trimmed",
        "short.mp4": "dropped",
        "text.mp4": "dropped",
        "twin.mp4": "used",
    }
    assert rows["good.mp4"].use == "1 window of 16 frames, 50% of the picture"
    assert rows["long.mp4"].use == "1 window of 8 frames, 50% of the picture, 0.38 s trimmed"
    assert rows["short.mp4"].reason == "has 7 frames at 8 fps, and 8 are needed"
    assert rows["text.mp4"].reason.startswith("not a readable video")
    assert rows["bare.mp4"].reason.startswith("has no caption ")
    assert notes[:2] == [
        "6 files seen = 2 used + 1 trimmed + 3 dropped",
        "to train on, at 32x32, 8 fps and 8 frames: 3 windows, 5.0 s",
    ]
    assert sorted(notes[2:]) == [
        f"caption without a clip: {tmp_path / 'stray.txt'}",
        "clip without a caption: bare.mp4",
        "clip without a caption: text.mp4",
        "double: twin.mp4 holds the same as good.mp4",
        'near-empty caption: twin.mp4: "x"',
    ]
    assert error.startswith("train refuses this folder; the first reason: ")


def test_a_folder_without_captions_is_told_once(checked: Callable, tmp_path: Path) -> None:
    for grey in range(3):
        write_clip(tmp_path / f"{grey}.mp4", caption=None, grey=grey)
    _, notes, error = checked(tmp_path)
    assert len(notes) == 2, "totals only"
    assert error == (
        "nothing is left to train on: no clip has a caption; write clip.txt beside clip.mp4, or a metadata.jsonl"
    )


def test_it_agrees_with_encode(checked: Callable, small_weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    lengths = (8, 11, 23, 40, 130, 137)
    for grey, num_frames in enumerate(lengths):
        write_clip(folder / f"{num_frames}.mp4", num_frames=num_frames, grey=grey)
    rows, _, error = checked(folder)
    clips = find_clips(folder)
    encoded = encode(clips, weights=small_weights, config=CONFIG, cache_folder=tmp_path / "cache", captions=False)
    for clip in clips:
        cached = segments_of(clip, encoded.cache.latents_path(clip))
        drawn_from = [4 * segment.length for segment in cached if 4 * segment.length >= CONFIG.num_frames]
        assert list(rows[clip.path.name].windows) == drawn_from
    assert rows["130.mp4"].trimmed_seconds == 2 / 8
    assert error == ""


def test_all_problems_are_listed_and_the_first_is_what_find_clips_raises(checked: Callable, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", caption=None)
    (tmp_path / "b.mp4").write_text("empty handed")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    (tmp_path / "notes.pdf").touch()
    lines = [
        '{"file_name": "a.mp4", "text": "one sky"}',
        "{oops",
        '{"file_name": "../outside.mp4", "text": "x"}',
        '{"file_name": "gone.mp4", "text": "x"}',
        '{"file_name": "notes.pdf", "text": "a pdf"}',
        '{"file_name": "a.mp4", "text": "two skies"}',
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    places = [re.search(r"(jsonl|txt):\d", problem.message)[0] for problem in survey_clips(tmp_path).problems]
    assert places == ["jsonl:2", "jsonl:3", "jsonl:4", "jsonl:5", "txt:1"]
    with pytest.raises(SoraditError, match=r"metadata\.jsonl:2: is not JSON"):
        find_clips(tmp_path)
    rows, notes, error = checked(tmp_path)
    assert rows["a.mp4"].clip.captions == ("one sky", "two skies")
    assert rows["a.mp4"].clip.caption_place == "metadata.jsonl:1,6"
    assert rows["notes.pdf"].verdict == rows["b.mp4"].verdict == "dropped"
    assert sum(line.startswith("train refuses: ") for line in notes) == 4
    assert "metadata.jsonl:2" in error


def test_short_clips_are_dropped_but_not_bad(checked: Callable, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_clip(tmp_path / f"{name}.mp4", num_frames=7 if name == "a" else 8)
    rows, _, error = checked(tmp_path, max_bad=0.0)
    assert (rows["a.mp4"].verdict, rows["a.mp4"].is_short, error) == ("dropped", True, "")


def test_with_buckets_nothing_is_cropped_to_another_shape(tmp_path: Path) -> None:
    config = GenerationConfig(height=256, width=256, num_frames=16, fps=8)
    row = look(write_clip(tmp_path / "a.mp4", num_frames=13), config, buckets=True)
    assert row.reading.size(row.inspection.info) == (160, 352)
    assert row.kept_share > 0.9
    assert row.windows == (12,)
    assert look(tmp_path / "a.mp4", config).reason == "has 13 frames at 8 fps, and 16 are needed"


def test_damaged_clips_are_kept_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (24, 32, 64, 3), dtype=np.uint8), fps=8)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert look(path, CONFIG).verdict == "dropped"
    row = look(path, CONFIG, keep_damaged=True)
    assert row.windows[0] >= 8
    assert ", up to its damage" in row.use


def test_pieces_shorter_than_a_video_are_no_use(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", num_frames=140)
    config = GenerationConfig(height=32, width=32, num_frames=132, fps=8)
    row = look(path, config)
    assert row.reason == "is cut into pieces of 128 frames, and 132 are needed"


@pytest.mark.parametrize(
    ("columns", "words"), [(80, ["used", "64x32,", "dropped"]), (200, ["verdict", "used", "dropped"])]
)
def test_a_terminal_narrower_than_the_table_gets_two_lines_a_file(
    soradit: Callable,
    small_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    words: list[str],
) -> None:
    write_clip(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: stream is sys.stdout, raising=False)
    lines = soradit("check", tmp_path, "--weights", small_weights, "--max-bad", 1).out.splitlines()
    assert [line.split()[0] for line in lines] == words
    assert max(map(len, lines[:2])) < columns
    assert "a.mp4: 1 window of 8 frames, 50% of the picture" in "".join(lines)


def test_rows_and_json_on_stdout_the_rest_on_stderr(soradit: Callable, small_weights: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    (tmp_path / "b\n\x1b[31m.mp4").write_bytes(b"")
    (tmp_path / "b\n\x1b[31m.txt").write_text("[bold]sky")
    given = ("check", tmp_path, "--weights", small_weights)
    ended = soradit(*given, "--max-bad", 1)
    assert "\x1b" not in ended.out + ended.err
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines] == ["verdict", "used", "dropped"]
    assert " bt709 tv 8-bit " in lines[1]
    assert lines[1].endswith(" a.mp4: 1 window of 8 frames, 50% of the picture")
    assert r" b\n\x1b[31m.mp4: not a readable file: it is empty" in lines[2]
    assert lines[0].index("file: ") == lines[1].index("a.mp4") == lines[2].index("b\\n")
    assert "2 files seen = 1 used + 0 trimmed + 1 dropped" in ended.err
    ended = soradit(*given, "--json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["file"] for row in rows] == ["a.mp4", "b\n\x1b[31m.mp4"]
    assert (rows[0]["num_frames"], rows[0]["num_frames_header"], rows[0]["codec"]) == (8, 8, "h264")
    assert rows[0]["colour"] == {
        "range": "tv",
        "primaries": "bt709",
        "transfer": "bt709",
        "bit_depth": 8,
        "peak_nits": None,
        "hdr": False,
    }
    assert ended.exit_code == 1
    assert ended.error == "soradit: 1 of 2 files are bad, more than 10% (--max-bad)"


def test_columns_stand_below_their_names_whatever_the_captions_come_from(
    soradit: Callable, small_weights: Path, tmp_path: Path
) -> None:
    names = ["a.mp4", "b.mp4"]
    write_clip(tmp_path / names[0])
    write_clip(tmp_path / names[1], caption=None)
    (tmp_path / "metadata.jsonl").write_text('\n{"file_name": "b.mp4", "text": "a black sky"}\n')
    header, *rows = soradit("check", tmp_path, "--weights", small_weights).out.splitlines()
    for row, name, place in zip(rows, names, (".txt", "jsonl:2"), strict=True):
        assert row[header.index("file:") :].startswith(f"{name}: ")
        assert row[header.index("caption") : header.index("colour")].strip() == place


def test_a_metadata_file_that_no_caption_can_be_read_from_is_what_is_wrong(checked: Callable, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", caption=None)
    (tmp_path / "metadata.csv").write_text("file,text\na.mp4,a sky\n")
    _, _, error = checked(tmp_path)
    assert error.endswith(f"the first reason: {tmp_path}/metadata.csv:1: has no column file_name")


def test_a_pipe_is_not_waited_for(checked: Callable, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "b.mp4")
    (tmp_path / "b.txt").write_text("somebody's pipe")
    rows, _, _ = checked(tmp_path)
    assert rows["a.mp4"].verdict == "used"
    assert rows["b.mp4"].reason == "cannot be opened: is no file"


def test_exit_codes(soradit: Callable, small_weights: Path, tmp_path: Path) -> None:
    given = ("check", tmp_path, "--weights", small_weights)
    ended = soradit(*given)
    assert (ended.exit_code, ended.out) == (1, "")
    assert "holds no clips" in ended.error
    assert ended.err.count("holds no clips") == 1
    write_clip(tmp_path / "a.mp4")
    assert soradit(*given).exit_code == 0
    assert soradit(*given, "--size", "33x32").error.startswith("soradit: width 33 is not a multiple of 32")
    ended = soradit(*given, "--frames", 16)
    hint = "no clip has 16 frames at 8 fps; use fewer --frames, or longer clips"
    assert (ended.exit_code, ended.error) == (1, f"soradit: nothing is left to train on: {hint}")
    assert soradit(*given, "--max-bad", 2).exit_code == 2
    write_clip(tmp_path / "b.mp4", caption=None, grey=9)
    (tmp_path / "c.mp4").write_text("no video")
    (tmp_path / "c.txt").write_text("a sky")
    said = "of 3 files 1 without a caption, 1 of less than 16 frames at 8 fps, 1 damaged or no video"
    assert soradit(*given, "--frames", 16).error == f"soradit: nothing is left to train on: {said}"


def test_a_video_of_one_frame_and_a_second_at_one_fps(tmp_path: Path) -> None:
    config = GenerationConfig(height=32, width=64, num_frames=8, fps=1)
    assert look(write_clip(tmp_path / "a.mp4"), config).reason == "has 1 frame at 1 fps, and 8 are needed"
    still = "has 1 frame at 1 fps, and 8 are needed: stills are taken with --buckets"
    assert look(write_clip(tmp_path / "b.mp4", num_frames=1), config).reason == still


def test_small_pictures_are_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    config = GenerationConfig(height=96, width=96, num_frames=8, fps=8)
    row = look(path, config)
    assert row.use == "1 window of 8 frames, 50% of the picture, enlarged 3 times"


@pytest.mark.parametrize("short", ["training", "held-out"])
def test_a_clip_to_train_on_is_needed_and_one_held_out_is_not(checked: Callable, tmp_path: Path, short: str) -> None:
    parts = split_clips([Clip(path=tmp_path / name, captions=("sky",)) for name in ("a.mp4", "b.mp4")])
    for side, (clip,) in zip(("training", "held-out"), parts, strict=True):
        write_clip(clip.path, num_frames=4 if side == short else 8)
    error = "no training clip has 8 frames: use fewer --frames, or add clips"
    assert checked(tmp_path)[2] == (error if short == "training" else "")


def test_sheet_stands_alone_and_obeys_nobody(checked: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    caption = "<script>alert(1)</script> & \x1b[31mred"
    write_clip(folder / "<b>a.mp4", caption=caption)
    sheet = tmp_path / "sheet.html"
    assert checked(folder, sheet=sheet)[2] == ""
    page = sheet.read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,/9j/') == 2
    assert html.escape(caption).replace("\x1b", r"\x1b") in page
    assert "&lt;b&gt;a.mp4" in page
    assert not re.search(r"<script|<b>a|https?:|\x1b", page)
    assert checked(folder, sheet=sheet)[2] == f"{sheet}: exists already; give --overwrite to replace it"
    assert checked(folder, sheet=sheet, overwrite=True)[2] == ""
    assert "does not exist; make it first" in checked(folder, sheet=tmp_path / "none" / "sheet.html")[2]
    assert sorted(tmp_path.iterdir()) == [folder, sheet]


def test_a_clip_that_ends_frozen_has_its_picture_too(checked: Callable, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 32), (grey, grey, grey)) for grey in (40, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 10_000])
    (tmp_path / "a.txt").write_text("a grey sky")
    rows, _, error = checked(tmp_path, sheet=tmp_path / "sheet.html")
    assert (rows["a.gif"].verdict, error) == ("trimmed", "")


def test_sheet_takes_braces_and_broken_names() -> None:
    card = Card(name="{a}\udcff.mp4", caption="{0}", verdict="used", text="{text}", pictures=[])
    page = render_sheet("{title}", "", [card])
    assert r"{a}\udcff.mp4" in page
    assert "{0}" in page
    page.encode()


@pytest.mark.parametrize(
    ("ticks", "time_base", "header_fps", "expected"),
    [
        ([0, 512, 1024], Fraction(1, 12800), 25.0, 25.0),
        ([0, 33, 67, 100, 133], Fraction(1, 1000), 29.97, 29.97),  # Matroska's milliseconds
        ([0, 33, 67, 100, 133], Fraction(1, 1000), 60.0, pytest.approx(30, rel=0.01)),  # a header that errs
        ([0, 7, 13, 20], Fraction(1, 100), 15.0, 15.0),  # GIF's hundredths
        ([0, 1, 2, 4, 5], Fraction(1, 25), 25.0, None),  # a frame left out, in ticks that count frames
        ([0, 3000, 32000], Fraction(1, 90000), 13.0, None),
        ([0], Fraction(1, 25), 25.0, 25.0),
        ([0, 0], Fraction(1, 25), 25.0, None),
    ],
)
def test_constant_rate(ticks: list[int], time_base: Fraction, header_fps: float, expected: float | None) -> None:
    assert _constant_rate(ticks, time_base, header_fps) == expected


@pytest.mark.parametrize(("transfer", "name"), [(16, "pq"), (18, "hlg")])
def test_hdr_is_named(tmp_path: Path, transfer: int, name: str) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, transfer, 9, 1
        for _ in range(8):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8), format="rgb24").reformat(
                format="yuv420p10le"
            )
            frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range = 9, transfer, 9, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    row = look(path, CONFIG)
    assert f" HDR {name} bt2020 tv 10-bit " in row.to_line()
    assert "tone-mapped from an assumed 1000 nits" in row.to_line()
    assert json.loads(row.to_json())["colour"]["hdr"] is True


def shared_rows() -> list[dict[str, str]]:
    if not SHARED_CLIPS.is_dir():
        return []
    with (SHARED_CLIPS / "INDEX.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


# The index counts the first of two streams; soradit reads the larger one.
SHARED_LARGER_STREAM = {"tc_nasa_13013.mp4": {"decoded": "390", "nb_frames_hdr": "390", "res": "480x270"}}
UNUSABLE = {
    "exo_sample_opus.mp4": "holds no video stream",
    "moviepy_result_0bytes.webm": "is empty",
    "streamio_broken.mp4": "not a readable video",
    "jcodec_issue365_truncated.mkv": "ends after 0.04 s of the 46.66 s",
}


@pytest.mark.skipif(not SHARED_CLIPS.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize("index", shared_rows(), ids=lambda row: row["file"])
def test_shared_clips(index: dict[str, str]) -> None:
    path = SHARED_CLIPS / index["file"]
    index = index | SHARED_LARGER_STREAM.get(path.name, {})
    config = GenerationConfig(height=32, width=32, num_frames=4, fps=8)
    row = look(path, config)
    assert row.to_line().startswith(row.verdict)
    if reason := UNUSABLE.get(path.name):
        assert reason in row.reason
    else:
        assert row.reason is None or re.match(r"has [0-3] frames? at 8 fps, and 4 are needed", row.reason)
    if index["decoded"] == "-":
        assert row.inspection is None
        return
    found, info, odd = row.inspection, row.inspection.info, index["odd"]
    assert (info.container, info.codec) == (index["container"], index["codec"])
    assert found.num_frames == int(index["decoded"])
    assert info.num_frames_header == (None if index["nb_frames_hdr"] == "-" else int(index["nb_frames_hdr"]))
    assert info.rotation_degrees == -int(index["rotation"] or 0) % 360
    assert (found.fps is None) == ("variable frame rate" in odd)
    assert found.colour.is_hdr == ("HDR" in odd)
    assert (found.colour.range == "pc") == ("full range" in odd)
    assert (found.colour.bit_depth == 10) == ("10-bit" in odd)
    assert found.is_interlaced == ("interlaced" in odd)
    width, height = map(int, index["res"].split("x"))
    if ":" in index["sar"]:
        width = round(width * Fraction(index["sar"].replace(":", "/")))
    assert (info.width, info.height) == ((height, width) if info.rotation_degrees % 180 else (width, height))


def test_inspection_goes_as_far_as_it_can(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8), fps=8)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    *_, found = inspecting(path)
    assert 0 < found.num_frames < 24
    assert found.info.num_frames_header == 24
    assert "damaged" in found.damage
