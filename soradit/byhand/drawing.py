"""A step on the terminal: matrices side by side, in boxes whose colour and border say what they hold."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rich.text import Text

from soradit.byhand.steps import Kind, Matrix, Picture, Step, Term, number

WIDTH = 80
STYLES = {
    Kind.PIXELS: "yellow",
    Kind.LATENTS: "green",
    Kind.NOISE: "reverse",
    Kind.CONDITIONS: "magenta",
    Kind.LEARNABLE: "red",
    Kind.FROZEN: "bright_blue",
    Kind.OTHER: "",
}


class Border(NamedTuple):
    """Corners from top left clockwise, and lines between them."""

    top_left: str
    top_right: str
    bottom_right: str
    bottom_left: str
    across: str
    down: str

    def top(self, width: int) -> str:
        return self.top_left + self.across * width + self.top_right

    def bottom(self, width: int) -> str:
        return self.bottom_left + self.across * width + self.bottom_right


@dataclass(frozen=True, kw_only=True)
class Look:
    """Characters to draw with."""

    data: Border
    learnable: Border
    frozen: Border
    shades: str
    """From dark to bright."""
    translate: dict[int, str]
    """What to write instead of characters that can't be written."""

    def border(self, kind: Kind) -> Border:
        return {Kind.LEARNABLE: self.learnable, Kind.FROZEN: self.frozen}.get(kind, self.data)

    def text(self, text: str, style: str = "") -> Text:
        return Text(text.translate(self.translate), style)


BOXES = Look(
    data=Border(*"┌┐┘└─│"), learnable=Border(*"╔╗╝╚═║"), frozen=Border(*"┏┓┛┗━┃"), shades=" ░▒▓█", translate={}
)
ASCII = Look(
    data=Border(*"++++-|"),
    learnable=Border(*"####=#"),
    frozen=Border(*"@@@@~@"),
    shades=" .:+#",
    translate=str.maketrans({"·": "*", "×": "x", "→": "->", "∂": "d"}),
)

Block = list[Text]
"""Lines of equal width."""


def draw(step: Step, look: Look) -> Iterator[Text]:
    """All of a step, at most WIDTH wide."""
    yield from draw_task(step, look)
    yield from paragraph(f"By hand: {step.words.by_hand}", look)
    yield from paragraph(f"Simpler than the product: {step.words.simpler}", look)
    yield from draw_code(step, look)
    yield Text()


def draw_task(step: Step, look: Look) -> Iterator[Text]:
    """What a step does and its matrices, without how to do it."""
    yield look.text(f"Step {step.number}  {step.words.title}", "bold")
    yield from paragraph(step.words.sentence, look)
    yield from draw_equations(step, look)


def draw_equations(step: Step, look: Look) -> Iterator[Text]:
    """A step's matrices only."""
    yield Text()
    for equation in step.equations:
        yield from _equation(equation, look)
        yield Text()


def draw_code(step: Step, look: Look) -> Iterator[Text]:
    """Where the product computes it."""
    yield from (look.text(f"Code: {code}", "dim") for code in step.code)


def paragraph(text: str, look: Look) -> Iterator[Text]:
    """Prose, at most WIDTH wide."""
    yield from (look.text(line) for line in textwrap.wrap(text, WIDTH))


def legend(look: Look, *, in_colour: bool) -> Iterator[Text]:
    """What borders and colours say."""
    line = Text("Borders:")
    for kind in (Kind.LEARNABLE, Kind.FROZEN):
        line.append(" ").append(f"{look.border(kind).top(2)} {kind.value}", STYLES[kind])
    if in_colour:
        line.append("  Colours:")
        for kind in (Kind.PIXELS, Kind.LATENTS, Kind.NOISE, Kind.CONDITIONS):
            line.append(" ").append(kind.value, STYLES[kind])
    yield line
    yield Text("A column is a patch. The code that trains and generates made every result.")
    yield Text()


def _equation(terms: tuple[Term, ...], look: Look) -> Iterator[Text]:
    """Blocks side by side; what would cross the right edge goes below."""
    line: list[Block] = []
    for block in (_block(term, look) for term in terms):
        if line and sum(_width(b) + 1 for b in line) + _width(block) > WIDTH - 2:
            yield from _side_by_side(line)
            line = []
        line.append(block)
    yield from _side_by_side(line)


def _block(term: Term, look: Look) -> Block:
    if isinstance(term, Matrix):
        return _box(term, look)
    if isinstance(term, Picture):
        return _picture(term, look)
    return [look.text(term)]


def _box(matrix: Matrix, look: Look) -> Block:
    columns = [[number(x) for x in column] for column in zip(*matrix.rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    rows_of_text = [" ".join(x.rjust(width) for x, width in zip(row, widths, strict=True)) for row in rows]
    border, style = look.border(matrix.kind), STYLES[matrix.kind]
    border_style, style = (style, "") if border is not look.data else ("", style)
    lines = [
        Text.assemble((border.down, border_style), (f" {row} ", style), (border.down, border_style))
        for row in rows_of_text
    ]
    return _framed(look.text(matrix.label, "dim"), lines, border, border_style)


def _picture(picture: Picture, look: Look) -> Block:
    """Two characters a pixel, 0 the darkest and 9 the brightest."""
    down, levels = look.data.down, len(look.shades)
    lines = []
    for row in picture.pixels:
        shades = "".join(2 * look.shades[min(levels - 1, int((x or 0) * levels / 10))] for x in row)
        lines.append(Text.assemble(down, (shades, STYLES[Kind.PIXELS]), down))
    return _framed(look.text(picture.label, "dim"), lines, look.data, "")


def _framed(label: Text, lines: list[Text], border: Border, style: str) -> Block:
    inside = lines[0].cell_len - 2
    block = [label, Text(border.top(inside), style), *lines, Text(border.bottom(inside), style)]
    width = max(line.cell_len for line in block)
    for line in block:
        line.pad_right(width - line.cell_len)
    return block


def _width(block: Block) -> int:
    return block[0].cell_len


def _side_by_side(blocks: list[Block]) -> Iterator[Text]:
    """Boxes hang from the same height; operators stand at mid-height."""
    height = max(map(len, blocks))
    for i in range(height):
        line = Text("  ")
        for block in blocks:
            row = i if len(block) > 1 else i - height // 2
            line.append_text(block[row] if 0 <= row < len(block) else Text(" " * _width(block))).append(" ")
        line.rstrip()
        yield line
