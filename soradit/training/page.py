"""report.html: how a run went, on one page that needs no other file, no network and no script."""

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from soradit.charts import Line, Points, line_chart, smoothed
from soradit.files import write_whole
from soradit.html import page, safe
from soradit.text import in_words
from soradit.training.best import FOLDER as BEST
from soradit.training.best import best_of
from soradit.training.estimate import PeakFlops
from soradit.training.log import LOG
from soradit.training.metrics import Row
from soradit.training.samples import FOLDER as SAMPLES
from soradit.training.samples import MAKING, PICTURE, list_samples
from soradit.training.steps import step_of

PAGE = "report.html"
WORTH_TELLING = 0.01
"""The share of a run's time spent waiting for data, from which on the page says so."""
REFRESH_SECONDS = 60
MAX_LOG_LINES = 30
MAX_SAMPLE_STEPS = 8
BLUE, ORANGE, GREY = "#3b82c4", "#e0812b", "#888888"
NOISE_TO_CLEAN = ("#2f4b8f", "#4c7bb8", "#5aa59a", "#9bb34a", "#e0812b")
"""Colours of held-out loss by fifths of t."""
_STYLE = """
:root { font: 14px/1.45 system-ui, sans-serif; }
body { margin: 1.5rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p.verdict { font-size: 1.05rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; border: 1px solid #8884; border-radius: 6px; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .title { font-size: 13px; font-weight: 600; }
svg .axis { opacity: .6; }
svg path { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg path.grid { stroke: #8883; stroke-width: 1; }
table { border-collapse: collapse; }
td, th { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
td.step { white-space: nowrap; opacity: .7; }
.wide { overflow-x: auto; }
table.samples { table-layout: fixed; width: 100%; min-width: 48rem; }
table.samples th:first-child { width: 6rem; }
table.samples th { white-space: normal; }
img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
@media (max-width: 34rem) {
  body { margin: .75rem auto; padding: 0 .75rem; }
  svg text { font-size: 13px; }
  svg .title { font-size: 15px; }
}
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
"""


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a run's page tells beside its figures."""

    title: str = "training"
    steps: int = 0
    """To train in all."""
    facts: dict[str, str] = field(default_factory=dict)
    """What model, data and settings are, in words."""
    flops_per_step: float | None = None
    """For each process, where there are several."""
    peak: PeakFlops | None = None
    """Measured on this machine when the run began."""
    trivial_loss: list[float] = field(default_factory=list)
    """By fifths of t: held-out loss of a model that knows nothing but how large latents are."""
    prompts: list[str] = field(default_factory=list)
    """What the samples are made from."""
    asks_for_texture: bool = False
    """Beside pixels, which alone are what held-out loss is of."""


def write_page(run: Path, rows: list[Row], story: Story, *, batch_size: int) -> None:
    """Write ``run / report.html``, which appears whole."""
    going_on = rows and rows[-1]["step"] < story.steps
    sections = [
        f"<h1>{safe(story.title)}</h1>",
        f'<p class="verdict">{safe(verdict(rows, story, best_of(run).step))}</p>',
        f"<p>As of {datetime.now():%Y-%m-%d %H:%M}, after {in_words(sum_of(rows, 'seconds'))} of steps.</p>",
        f'<div class="charts">{"".join(_charts(rows, story, batch_size))}</div>',
        _samples(run, story.prompts),
        "<h2>What was trained, on what</h2>" + _table(story.facts),
        _log(run),
    ]
    refresh_seconds = REFRESH_SECONDS if going_on else None
    body = "\n".join(filter(None, sections))
    write_whole(run / PAGE, page(story.title, _STYLE, body, refresh_seconds=refresh_seconds))


def verdict(rows: list[Row], story: Story, best_kept: int = 0) -> str:
    """Where the run stands, in a few sentences; ``best_kept`` is the step of what is in ``best/``, if any."""
    if not rows:
        return "No step yet."
    done = int(rows[-1]["step"])
    words = [f"Step {done} of {story.steps}." if story.steps else f"Step {done}."]
    held_out = series(rows, "held_out_loss")
    if held_out:
        best_step, best = min(held_out, key=lambda point: point[1])
        last_step, last = held_out[-1]
        words.append(f"Held-out loss {last:.4f} at step {last_step:.0f}.")
        if last > 1.01 * best:
            why = (
                "it is of pixels alone, and asking for texture raises it."
                if story.asks_for_texture
                else "the model is learning its clips by heart. Fewer steps, or more clips, would serve better."
            )
            risen = f"has risen by {last / best - 1:.0%} since"
            words.append(f"It was lowest at step {best_step:.0f} ({best:.4f}) and {risen}: {why}")
            if best_kept:
                words.append(f"The weights of step {best_kept} are in {BEST}/.")
        elif last < held_out[0][1]:
            words.append(f"It has fallen from {held_out[0][1]:.4f}, and is as low as it ever was.")
    if (waiting := share_of_waiting(rows)) > WORTH_TELLING:
        words.append(
            f"Of its time it spent {waiting:.0%} waiting for data: a faster disk, or less beside it, would help."
        )
    return " ".join(words)


def share_of_waiting(rows: list[Row]) -> float:
    """How much of the steps' time went into waiting for data."""
    whole = sum_of(rows, "seconds")
    return sum_of(rows, "waited_seconds") / whole if whole else 0.0


def sum_of(rows: list[Row], name: str) -> float:
    return sum(row.get(name, 0.0) for row in rows)


def series(rows: list[Row], name: str) -> Points:
    return [(row["step"], row[name]) for row in rows if name in row]


def _charts(rows: list[Row], story: Story, batch_size: int) -> list[str]:
    loss = series(rows, "loss")
    pace = [(row["step"], batch_size / row["seconds"]) for row in rows if row.get("seconds", 0) > 0]
    losses = [
        Line(name="each step", points=loss, color=BLUE, faint=True),
        Line(name="average", points=smoothed(loss), color=BLUE),
    ]
    held_out = Line(name="held out", points=series(rows, "held_out_loss"), color=ORANGE)
    charts = [
        *(
            [line_chart("Loss", losses), line_chart("Held-out loss, pixels alone", [held_out])]
            if story.asks_for_texture
            else [line_chart("Loss", [*losses, held_out])]
        ),
        *_by_timestep(rows, story.trivial_loss),
        line_chart("Gradient norm", [_one("gradient norm", smoothed(series(rows, "gradient_norm")))], from_zero=True),
        line_chart("Learning rate", [_one("learning rate", series(rows, "learning_rate"))], from_zero=True),
        line_chart("Clips a second", [_one("clips/s", smoothed(pace))], from_zero=True),
    ]
    if story.flops_per_step and story.peak:
        charts.append(_speed(rows, story.flops_per_step, story.peak))
    return charts


def _speed(rows: list[Row], flops: float, peak: PeakFlops) -> str:
    """By the clock, and by the time that processors gave to it: where they differ, other programs ran, or it waited."""

    def share(of: str, peak_flops: float) -> Points:
        return smoothed([(row["step"], 100 * flops / row[of] / peak_flops) for row in rows if row.get(of, 0) > 0])

    lines = [Line(name="by the clock", points=share("seconds", peak.per_second), color=BLUE)]
    if peak.per_processor_second:
        points = share("processor_seconds", peak.per_processor_second)
        lines.append(Line(name="by processor time", points=points, color=ORANGE))
    return line_chart(f"Speed, % of a matrix product's ({peak.per_second / 1e9:,.0f} GFLOP/s)", lines, from_zero=True)


def _by_timestep(rows: list[Row], trivial: list[float]) -> list[str]:
    """Held-out loss by fifths of t: over the steps, and the newest beside its floor, the lowest so far."""
    bins: list[Points] = []
    while points := series(rows, f"held_out_loss_{len(bins)}"):
        bins.append(points)
    if not bins:
        return []
    names = [f"{i / len(bins):.1f}-{(i + 1) / len(bins):.1f}" for i in range(len(bins))]
    middles = [(i + 0.5) / len(bins) for i in range(len(bins))]
    over_steps = [
        Line(name=name, points=points, color=color)
        for name, points, color in zip(names, bins, NOISE_TO_CLEAN, strict=False)
    ]
    if of_noise := series(rows, "held_out_loss_at_0"):
        over_steps.insert(0, Line(name="0, pure noise", points=of_noise, color=GREY))
    at = {
        "first": Line(name="first", points=_at(middles, [b[0][1] for b in bins]), color=GREY),
        "newest": Line(name="newest", points=_at(middles, [b[-1][1] for b in bins]), color=ORANGE),
        "floor": Line(
            name="floor so far", points=_at(middles, [min(y for _, y in b) for b in bins]), color=BLUE, dashed=True
        ),
    }
    if trivial:
        at["trivial"] = Line(name="size alone", points=_at(middles, trivial), color=GREY, dashed=True)
    return [
        line_chart("Held-out loss by t", over_steps),
        line_chart("Held-out loss at each t", list(at.values()), x_name="t (0 noise, 1 clean)"),
    ]


def _at(xs: list[float], ys: list[float]) -> Points:
    return list(zip(xs, ys, strict=False))


def _one(name: str, points: Points) -> Line:
    return Line(name=name, points=points, color=BLUE)


def _samples(run: Path, prompts: list[str]) -> str:
    """The same prompts and seeds as the model grew: the first sample, the newest, and some between."""
    steps = list_samples(run)
    if not steps:
        return ""
    chosen = {round(i * (len(steps) - 1) / (MAX_SAMPLE_STEPS - 1)) for i in range(MAX_SAMPLE_STEPS)}
    rows = [
        f'<tr><td class="step">step {step_of(folder)}</td>'
        + "".join(f"<td>{_picture(folder / PICTURE.format(index))}</td>" for index in range(len(prompts)))
        + "</tr>"
        for folder in (steps[i] for i in sorted(chosen))
    ]
    head = "<tr><th></th>" + "".join(f"<th>{safe(prompt)}</th>" for prompt in prompts) + "</tr>"
    table = f'<div class="wide"><table class="samples">{head}{"".join(rows)}</table></div>'
    return f"<h2>Samples as they grew</h2><p>As MP4s in {SAMPLES}/.</p>{table}"


def _picture(path: Path) -> str:
    if not path.is_file():
        return ""
    return f'<img alt="" src="data:image/jpeg;base64,{b64encode(path.read_bytes()).decode()}">'


def _table(facts: dict[str, str]) -> str:
    rows = "".join(f"<tr><th>{safe(name)}</th><td>{safe(value)}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _log(run: Path) -> str:
    path = run / LOG
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line for line in lines if MAKING not in line][-MAX_LOG_LINES:]  # samples have a place of their own
    return f"<h2>What happened</h2><pre>{chr(10).join(map(safe, lines))}</pre>"
