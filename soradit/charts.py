"""Line charts as SVG, for pages that need no other file and run no script."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 264
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 48, 40
"""Margins in pixels, around the plotted area."""
MAX_POINTS = 400
"""The most points of a line: more are averaged, so that a page stays small however long a run is."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart; points that are not finite are left out."""

    name: str
    points: Points
    color: str
    dashed: bool = False
    faint: bool = False


def line_chart(title: str, lines: list[Line], *, x_name: str = "step", from_zero: bool = False) -> str:
    """An ``<svg>``: lines over a shared x, with a legend when there are several.

    The y axis spans what is drawn in full strength; faint lines may leave it. Returns "" without any point.
    """
    lines = [_drawable(line) for line in lines]
    shown = [point for line in lines if not line.faint for point in line.points]
    if not shown:
        return ""
    xs, ys = [x for line in lines for x, _ in line.points], [y for _, y in shown]
    x_ticks = _ticks(min(xs), max(xs))
    y_ticks = _ticks(0.0 if from_zero else min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        y = min(max(y, y_ticks[0]), y_ticks[-1])
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="18" class="title">{escape(title)}</text>']
    for y in y_ticks:
        height = place(x_ticks[0], y)[1]
        parts.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{_number(y)}</text>')
    for x in x_ticks:
        across = place(x, y_ticks[0])[0]
        parts.append(f'<text x="{across:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{_number(x)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end" class="axis">{escape(x_name)}</text>')
    parts += [_path(line, [place(*point) for point in line.points]) for line in lines if line.points]
    if len(lines) > 1:
        parts.append(_legend(lines))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def smoothed(points: Points) -> Points:
    """An exponential average, over about the square root of their number."""
    keep = 1 - 1 / math.sqrt(max(1, len(points)))
    average, weight, result = 0.0, 0.0, []
    for x, y in points:
        if math.isfinite(y):
            average, weight = keep * average + (1 - keep) * y, keep * weight + (1 - keep)
            result.append((x, average / weight))
    return result


def _drawable(line: Line) -> Line:
    points = [(x, y) for x, y in line.points if math.isfinite(y)]
    size = math.ceil(len(points) / MAX_POINTS)
    if size > 1:
        groups = [points[start : start + size] for start in range(0, len(points), size)]
        points = [(g[-1][0], sum(y for _, y in g) / len(g)) for g in groups]
    return Line(name=line.name, points=points, color=line.color, dashed=line.dashed, faint=line.faint)


def _path(line: Line, places: Points) -> str:
    style = f'stroke="{line.color}"' + (' stroke-dasharray="5 4"' if line.dashed else "")
    style += ' opacity=".3" stroke-width="1"' if line.faint else ""
    dots = "" if len(places) > 1 else f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" {style}/>'
    return f'<path d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" {style}/>' + dots


def _legend(lines: list[Line]) -> str:
    """Below the title."""
    parts, x = [], float(LEFT)
    for line in lines:
        style = f'stroke="{line.color}"' + (' stroke-dasharray="5 4"' if line.dashed else "")
        style += ' opacity=".3"' if line.faint else ""
        parts.append(f'<path d="M{x:.0f} 31h16" {style}/><text x="{x + 20:.0f}" y="35">{escape(line.name)}</text>')
        x += 6.2 * len(line.name) + 36
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers around [low, high]."""
    if high <= low:
        low, high = low - 0.5 * max(abs(low), 1e-9), low + 0.5 * max(abs(low), 1e-9)
    rough = (high - low) / 5
    unit = 10 ** math.floor(math.log10(rough))
    stride = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough)
    first, last = math.floor(low / stride + 1e-9), math.ceil(high / stride - 1e-9)
    return [stride * i for i in range(first, last + 1)]


def _number(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:.4g}"
