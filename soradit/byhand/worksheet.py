"""All steps on paper: one page with blanks to fill in, one with the answers."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.text import Text

from soradit.byhand.drawing import BOXES, draw_code, draw_task, paragraph
from soradit.byhand.exercise import PROMPT, T
from soradit.byhand.steps import WORKSHEETS, Matrix, Picture, Step, Term, number
from soradit.errors import SoraditError
from soradit.files import check_output_path, write_whole

HEADING = "The diffusion transformer by hand"
INTRODUCTION = (
    f'A video, the prompt "{PROMPT}", t = {T}. A column is a patch. Learnable weights have a double border, '
    "frozen ones a heavy one. After Tom Yeh's AI by Hand, no. 18; the answers come out of soradit's own code."
)
HINTED = (8, 11)
"""Steps that one can't do without being told how: what is said of the others would give the answers away."""


def write_worksheet(path: Path, steps: list[Step], *, overwrite: bool) -> None:
    """Write ``.html`` (two A4 pages) or ``.md``.

    Raises SoraditError for another suffix, and when the file exists or can't be written.
    """
    check_output_path(path, overwrite=overwrite, suffixes=WORKSHEETS)
    to_text = to_html if path.suffix.lower() == ".html" else to_markdown
    sheet, known = [], set[str]()
    for step in steps:
        sheet.append(step.with_names_for(known))
        known |= step.matrices.keys()
    try:
        write_whole(path, to_text([step.without_results() for step in sheet], sheet))
    except OSError as error:
        raise SoraditError(f"can't write {path}: {error.strerror}") from error


def to_markdown(blanks: list[Step], answers: list[Step]) -> str:
    pages = []
    for title, steps in ((HEADING, blanks), ("Answers", answers)):
        drawn = "\n".join(line.plain for step in steps for line in _drawn(step))
        pages.append(f"# {title}\n\n{INTRODUCTION}\n\n```text\n{drawn.rstrip()}\n```\n")
    return "\n".join(pages)


def _drawn(step: Step) -> Iterator[Text]:
    yield from draw_task(step, BOXES)
    if step.number in HINTED:
        yield from (*paragraph(step.words.by_hand, BOXES), Text())
    yield from (*draw_code(step, BOXES), Text())


def to_html(blanks: list[Step], answers: list[Step]) -> str:
    pages = "".join(_page(title, steps) for title, steps in ((HEADING, blanks), (f"{HEADING}: answers", answers)))
    head = f"<meta charset=utf-8><title>{HEADING}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{pages}</body></html>\n"


def _page(title: str, steps: list[Step]) -> str:
    articles = "".join(map(_step, steps))
    return f"<section><h1>{title}</h1><p>{escape(INTRODUCTION)}</p><div class=steps>{articles}</div></section>"


def _step(step: Step) -> str:
    equations = "".join(f"<div class=equation>{''.join(map(_term, equation))}</div>" for equation in step.equations)
    code = ", ".join(f"<code>{escape(str(code))}</code>" for code in step.code)
    words = step.words
    hint = f" <i>{escape(words.by_hand)}</i>" if step.number in HINTED else ""
    return (
        f"<article><h2>{step.number}. {escape(words.title)}</h2><p>{escape(words.sentence)}{hint}</p>"
        f"<div class=equations>{equations}</div><p class=code>{code}</p></article>"
    )


def _term(term: Term) -> str:
    if isinstance(term, str):
        return f"<span class=operator>{escape(term)}</span>"
    kind, cells = ("picture", _picture(term)) if isinstance(term, Picture) else (term.kind.value, _cells(term))
    return f"<figure><figcaption>{escape(term.label)}</figcaption><table class={kind}>{cells}</table></figure>"


def _cells(matrix: Matrix) -> str:
    rows = ("".join("<td class=blank>" if x is None else f"<td>{number(x)}" for x in row) for row in matrix.rows)
    return "".join(f"<tr>{row}" for row in rows)


def _picture(picture: Picture) -> str:
    """0 is black, 9 is white."""
    rows = (
        "".join(f"<td style='background:hsl(45 30% {100 * (x or 0) / 9:.0f}%)'>" for x in row) for row in picture.pixels
    )
    return "".join(f"<tr>{row}" for row in rows)


STYLE = """
@page { size: A4; margin: 8mm }
* { -webkit-print-color-adjust: exact; print-color-adjust: exact }
body { font: 6.4pt/1.2 system-ui, "DejaVu Sans", sans-serif; margin: 0 auto; max-width: 194mm; color: #111 }
section { break-after: page } section:last-child { break-after: auto }
h1 { font-size: 11pt; margin: 0 } h2 { font-size: 7.5pt; margin: 0 } p { margin: .2mm 0 .6mm }
.steps { columns: 2; column-gap: 5mm }
article { break-inside: avoid; border-top: .2mm solid #999; padding: .5mm 0 .3mm }
.equations, .equation { display: flex; flex-wrap: wrap; align-items: center; gap: .3mm .8mm }
.equations { gap: .8mm 5mm; margin: .4mm 0 }
.operator { font-style: italic } figure { margin: 0 } figcaption { font-size: 5pt; line-height: 1.1; color: #555 }
table { border-collapse: collapse; border: .2mm solid #777 }
td { min-width: 3mm; height: 3.8mm; padding: 0 .4mm; text-align: right; border: .1mm solid #ccc; line-height: 1 }
td.blank { min-width: 4.3mm; height: 4mm; background: #fff }
.pixels { background: #fff2a8 } .latents { background: #cfeecb } .conditions { background: #e6d3f7 }
.noise { background: #111; color: #fff }
.learnable { border: .8mm double #d11 } .frozen { border: .7mm solid #15c }
.picture td { min-width: 3.3mm; border: 0 }
.code { font-size: 4.8pt; color: #555; margin: 0 } code { font-family: "DejaVu Sans Mono", monospace }
"""
