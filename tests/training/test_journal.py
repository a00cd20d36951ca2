"""What a run tells: figures read now and then, words for a terminal, a page that stands alone."""

import re
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from soradit.charts import Line, line_chart, smoothed
from soradit.training.estimate import PeakFlops
from soradit.training.journal import BOARD_FOLDER, Journal
from soradit.training.log import append_to_log
from soradit.training.page import BLUE, ORANGE, Story, verdict, write_page

NAN = float("nan")


def events(run: Path) -> list[tuple[int, str, float]]:
    """The scalars of a run's TensorBoard files, checksums checked."""
    found = []
    for file in sorted((run / BOARD_FOLDER).glob("events*")):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            body = data[12 : 12 + length]
            assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
            data = data[16 + length :]
            event = Event.FromString(body)
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def test_figures_stay_on_the_device_until_they_are_read(tmp_path: Path) -> None:
    began = time.perf_counter()
    journal = Journal(tmp_path, 0, batch_size=8)
    for step in (1, 2, 3):
        journal.add(step, {"loss": torch.tensor(step / 4), "gradient_norm": torch.tensor(1.0)})
    assert journal.rows == []
    assert journal.summary == ""
    rows = journal.flush()
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert len({row["seconds"] for row in rows}) == 1
    assert sum(row["seconds"] for row in rows) <= time.perf_counter() - began
    assert 0 <= sum(row["processor_seconds"] for row in rows) <= time.process_time()
    journal.amend(3, {"held_out_loss": 0.625})
    assert re.fullmatch(r"loss 0\.3225, held-out 0\.6250, \S+ clips/s", journal.summary)
    journal.close()
    assert {(3, "held_out_loss", 0.625), (2, "loss", 0.5)} <= set(events(tmp_path))


def test_the_running_loss_outlives_a_step_that_was_not_taken(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0, batch_size=8)
    for step, loss in enumerate((0.5, NAN, 0.25)):
        journal.add(step + 1, {"loss": torch.tensor(loss), "gradient_norm": 1.0})
    journal.flush()
    assert journal.summary.startswith("loss 0.4750,")
    journal.close()


def test_a_process_that_does_not_write_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0, batch_size=8, writes=False)
    journal.add(1, {"loss": torch.tensor(1.0), "gradient_norm": 1.0})
    journal.flush()
    journal.amend(1, {"held_out_loss": 0.5})
    journal.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([], "No step yet"),
        ([3.0, 2.0, 1.0], "as low as it ever was"),
        ([3.0, 1.0, 2.0], r"lowest at step 2 \(1.0000\) and has risen by 100% since: the model is learning its clips"),
        ([2.0, 2.0], r"Held-out loss 2.0000 at step 2\.$"),
        ([3.0, NAN, 2.0], "Held-out loss 2.0000 at step 3"),
    ],
)
def test_the_verdict_says_where_the_run_stands(losses: list[float], said: str) -> None:
    rows = [{"step": float(i), "loss": 1.0, "held_out_loss": loss} for i, loss in enumerate(losses, 1)]
    assert re.search(said, verdict(rows, Story(steps=3)))


def test_texture_is_not_taken_for_learning_by_heart(tmp_path: Path) -> None:
    rows = [{"step": float(i), "loss": 1.0, "held_out_loss": loss} for i, loss in enumerate((3.0, 1.0, 2.0), 1)]
    story = Story(steps=3, asks_for_texture=True)
    assert "risen by 100% since: it is of pixels alone" in verdict(rows, story)
    write_page(tmp_path, rows, story, batch_size=4)
    assert "Held-out loss, pixels alone" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("waited", "is_told"), [(0.004, False), (0.3, True)])
def test_waiting_for_data_is_told_where_it_costs_something(waited: float, is_told: bool) -> None:
    rows = [
        {"step": 1.0, "seconds": 0.5, "waited_seconds": 0.0},
        {"step": 2.0, "seconds": 0.5, "waited_seconds": waited},
    ]
    assert ("it spent 30% waiting for data" in verdict(rows, Story(steps=2))) == is_told


def test_the_page_stands_alone_and_escapes_what_strangers_wrote(tmp_path: Path) -> None:
    rows = [
        {
            "step": float(i),
            "loss": 1 / i,
            "gradient_norm": 1.0,
            "learning_rate": 0.1,
            "seconds": 0.5,
            "held_out_loss": 1 / i,
            "held_out_loss_at_0": 2 / i,
        }
        | {f"held_out_loss_{b}": b / i for b in range(5)}
        for i in range(1, 9)
    ]
    append_to_log(tmp_path, "left out: <script>alert(1)</script>\x1b[2J")
    story = Story(title="<b>run</b>", steps=20, facts={"clips": "<i>8</i>"}, trivial_loss=[1.0] * 5)
    write_page(tmp_path, rows, story, batch_size=4)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "<i>8" not in page
    assert "\x1b" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<svg") == 6
    assert "0, pure noise" in page
    for svg in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(svg)
    assert 'http-equiv="refresh"' in page
    write_page(tmp_path, rows, Story(steps=8), batch_size=4)
    assert 'http-equiv="refresh"' not in (tmp_path / "report.html").read_text()


def test_speed_by_processor_time_is_that_of_a_machine_of_ones_own(tmp_path: Path) -> None:
    """The clock ran twice as long as what processors gave: half the speed by it, all of it by their time."""
    rows = [{"step": float(i), "loss": 1.0, "seconds": 2.0, "processor_seconds": 1.0} for i in range(1, 4)]
    story = Story(flops_per_step=60.0, peak=PeakFlops(per_second=100.0, per_processor_second=100.0))
    write_page(tmp_path, rows, story, batch_size=4)
    (svg,) = re.findall(r"<svg[^>]*Speed.*?</svg>", (tmp_path / "report.html").read_text())
    assert "by the clock" in svg
    heights = {color: re.search(rf'd="M[\d.]+,([\d.]+)[^"]*" stroke="{color}"', svg)[1] for color in (BLUE, ORANGE)}
    bottom, top = 224.0, 48.0
    clock, processor = ((bottom - float(heights[color])) / (bottom - top) for color in (BLUE, ORANGE))
    assert processor / clock == pytest.approx(2)
    write_page(
        tmp_path, rows, replace(story, peak=PeakFlops(per_second=100.0, per_processor_second=None)), batch_size=4
    )
    assert "by processor time" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "points",
    [[(1.0, 2.0)], [(1.0, 0.0), (2.0, 0.0)], [(1.0, NAN), (2.0, 5.0)], [(float(i), i % 7) for i in range(5000)]],
)
def test_charts_draw_within_their_frame(points: list[tuple[float, float]]) -> None:
    svg = line_chart(
        "loss", [Line(name="a & b", points=points, color="#000"), Line(name="c", points=points, color="#111")]
    )
    assert len(svg) < 40_000
    for path in (e for e in ElementTree.fromstring(svg).iter() if e.tag == "path" and "class" not in e.attrib):
        for x, y in re.findall(r"([-\d.]+),([-\d.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= 560
            assert 0 <= float(y) <= 250


def test_a_chart_of_nothing_is_nothing() -> None:
    assert line_chart("loss", [Line(name="a", points=[(1.0, NAN)], color="#000")]) == ""


def test_smoothing_keeps_the_level() -> None:
    assert smoothed([(float(i), 3.0) for i in range(100)])[-1][1] == pytest.approx(3.0)
    assert smoothed([(0.0, 1.0), (1.0, NAN)]) == [(0.0, 1.0)]
    assert smoothed([]) == []
    noisy = smoothed([(float(i), float(i % 2)) for i in range(64)])
    assert all(0.4 < y < 0.6 for _, y in noisy[32:])
