"""The report: one HTML file with its videos inside, that needs no other and runs no script."""

import tempfile
from base64 import b64encode
from pathlib import Path

import numpy as np

from soradit.evaluation.result import Evaluation, Sample
from soradit.evaluation.scores import FACTS
from soradit.html import page, safe
from soradit.media.video import read_video
from soradit.media.writing import write_video
from soradit.model.config import GenerationConfig

_CRF = 23
_STYLE = """
:root { font: 14px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem; }
article { border: 1px solid #8886; border-top: 4px solid #2a7; padding: .75rem; overflow-wrap: anywhere; }
article.wrong { border-top-color: #d33; }
h1 { font-size: 1.3rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 1rem; }
p { margin: .5rem 0 0; max-width: 60rem; }
video { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: right; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #8884; }
td:first-child, td:last-child { text-align: left; }
"""
_BODY = """<h1>{title}</h1>
<p>{protocol}</p>
<table>
<tr><th></th><th>generated</th><th>real</th><th></th></tr>
{scores}
</table>
{sections}"""
_SECTION = """<h2>{heading}</h2>
<main>
{cards}
</main>"""
_CARD = """<article class="{kind}">
<video autoplay loop muted playsinline controls src="data:video/mp4;base64,{video}"></video>
<p><b>{prompt}</b></p>
<p>{text}</p>
</article>"""


def render_page(evaluation: Evaluation) -> str:
    """The page's HTML: figures, then the clips, those that miss most of their prompt and lie farthest off first."""
    rows = ["".join(f"<td>{safe(cell)}</td>" for cell in score.to_row()) for score in evaluation.scores]
    sections = [
        ("Real, on the left, and generated from its caption, on the right; worst first", evaluation.samples),
        ("Generated from words that captions rarely use; worst first", evaluation.synonyms),
    ]
    settings = evaluation.protocol.settings
    title = f"soradit evaluate {evaluation.protocol.weights}"
    body = _BODY.format(
        title=safe(title),
        protocol=safe(evaluation.protocol.to_line()),
        scores="\n".join(f"<tr>{row}</tr>" for row in rows),
        sections="\n".join(_render_section(heading, samples, settings) for heading, samples in sections if samples),
    )
    return page(title, _STYLE, body)


def worst_first(samples: list[Sample]) -> list[Sample]:
    """By the number of facts that are not as the prompt states, then by the distance from the held-out clip."""
    return sorted(samples, key=lambda sample: (-len(sample.wrong), -(sample.distance or 0.0)))


def _render_section(heading: str, samples: list[Sample], settings: GenerationConfig) -> str:
    cards = [_render_card(sample, settings) for sample in worst_first(samples)]
    return _SECTION.format(heading=heading, cards="\n".join(cards))


def _render_card(sample: Sample, settings: GenerationConfig) -> str:
    return _CARD.format(
        kind="wrong" if sample.wrong else "right",
        video=b64encode(_video(sample, settings)).decode(),
        prompt=safe(sample.prompt) or "<em>no caption</em>",
        text=safe("; ".join(_remarks(sample))),
    )


def _remarks(sample: Sample) -> list[str]:
    stated = [(fact, getattr(sample.stated, fact), getattr(sample.look.seen, fact)) for fact in FACTS]
    remarks = [
        f"{fact} {asked}" if asked == seen else f"{fact} {asked} asked, {seen or 'none'} seen"
        for fact, asked, seen in stated
        if asked
    ]
    if sample.distance is not None:
        remarks.append(f"distance {sample.distance:.3g}")
    if sample.nearest is not None:
        remarks.append(f"nearest training clip {Path(sample.nearest.clip).name}, {sample.nearest.distance:.3g} away")
    return [*remarks, f"seed {sample.seed}", *([sample.clip.path.name] if sample.clip else [])]


def _video(sample: Sample, settings: GenerationConfig) -> bytes:
    """An MP4 of both clips side by side, so that they play in step."""
    size, length = (settings.height, settings.width), settings.num_frames
    paths = [sample.clip.path, sample.path] if sample.clip else [sample.path]
    clips = [read_video(path, fps=settings.fps, size=size, num_frames=length)[0] for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pair.mp4"
        write_video(target, np.concatenate(clips, axis=2), fps=settings.fps, crf=_CRF)
        return target.read_bytes()
