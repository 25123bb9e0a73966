"""Charts as plain geometry, drawn by the templates as SVG, and drawings made elsewhere fitted into a page. Pure."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from trialdm.domain.flow import Box as FlowBox
from trialdm.domain.flow import Flow
from trialdm.domain.outcomes import FUNNEL_FROM, LEVELS, SIGNAL, Funnel, decimal, limits
from trialdm.services.recruitment import Pace
from trialdm.web.wording import month

WIDTH, HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 96, 20, 40


@dataclass(frozen=True)
class Chart:
    """A line chart: points of both lines, marks of the actual one, labelled gridlines and months."""

    actual: str
    expected: str
    marks: tuple[tuple[float, float], ...]
    rows: tuple[tuple[float, int], ...]
    months: tuple[tuple[float, str], ...]
    ends: tuple[tuple[float, float, int], tuple[float, float, int]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    floor: int = HEIGHT - _BOTTOM


def recruitment(found: Pace) -> Chart:
    """Cumulative randomised participants beside the line to the target."""
    top = _round_up(max((1, *(one.total for one in found.months), *(one.expected for one in found.months))))
    xs = _spread(len(found.months))
    actual = [(x, _y(one.total, top)) for x, one in zip(xs, found.months, strict=True)]
    expected = [(x, _y(one.expected, top)) for x, one in zip(xs, found.months, strict=True)]
    every = max(1, -(-len(xs) // 8))
    end, planned = actual[-1], expected[-1]
    apart = abs(end[1] - planned[1])
    nudge = (20 - apart) / 2 if apart < 20 else 0
    below = 1 if end[1] >= planned[1] else -1
    return Chart(
        _points(actual),
        _points(expected),
        tuple(actual),
        tuple((_y(value, top), value) for value in range(0, top + 1, top // 4)),
        tuple((x, month(one.month)) for i, (x, one) in enumerate(zip(xs, found.months, strict=True)) if i % every == 0),
        (
            (end[0] + 8, end[1] + 5 + below * nudge, found.randomised),
            (planned[0] + 8, planned[1] + 5 - below * nudge, found.expected),
        ),
    )


def _round_up(value: int) -> int:
    """The next number that four equal steps divide well."""
    for step in (1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 500, 1000):
        if step * 4 >= value:
            return step * 4
    return -(-value // 4000) * 4000


def _spread(count: int) -> list[float]:
    wide = WIDTH - _LEFT - _RIGHT
    return [round(_LEFT + (wide * i / (count - 1) if count > 1 else 0), 1) for i in range(count)]


def _y(value: int, top: int) -> float:
    return round(HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * value / top, 1)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


# --- the treatment pathway -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scatter:
    """Points over an area with lines: a funnel or a CUSUM. `lines` are a class of the style, and points; `marks` x, y, and words."""

    lines: tuple[tuple[str, str], ...]
    marks: tuple[tuple[float, float, str], ...]
    rows: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, str], ...]
    labels: tuple[tuple[float, float, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    floor: int = HEIGHT - _BOTTOM


def funnel(found: Funnel) -> Scatter | None:
    """Organisations by size and proportion, between exact limits about the pooled rate; None where nothing may be shown."""
    rate = found.pooled.rate
    if rate is None or not found.places:
        return None
    sizes = [place.tally.cases for place in found.places]
    most = _round_up(max(sizes) + 2)
    steps = range(FUNNEL_FROM, most + 1, max(1, most // 60))
    lines = [("chart-expected", _points([(_x(n, most), _share(rate)) for n in (FUNNEL_FROM, most)]))]
    labels = [(_x(most, most) + 6, _share(rate) + 4, "pooled")]
    for level, style in zip(LEVELS, ("chart-limit", "chart-limit-outer"), strict=True):
        for side in (0, 1):
            edge = [(_x(n, most), _share(Fraction(limits(n, rate, level)[side], n))) for n in steps]
            lines.append((style, _points(edge)))
            if side:
                labels.append((edge[-1][0] + 6, edge[-1][1] + (14 if level == LEVELS[0] else -4), f"{decimal(level * 100)}%"))
    return Scatter(
        tuple(lines),
        tuple((_x(p.tally.cases, most), _share(p.tally.rate or Fraction(0)), p.site) for p in found.places),
        tuple((_share(Fraction(percent, 100)), f"{percent}%") for percent in range(0, 101, 25)),
        tuple((_x(n, most), str(n)) for n in range(0, most + 1, most // 4)),
        tuple(labels),
    )


def _x(value: int, most: int) -> float:
    return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * value / most, 1)


def _share(rate: Fraction) -> float:
    return round(HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * float(rate), 1)


def cusum(values: Sequence[float]) -> Scatter:
    """The sum case by case, with the line at which it signals."""
    top = max(6.0, *values)
    most = _round_up(len(values))

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * value / top, 1)

    places = [(_x(i, most), y(value)) for i, value in enumerate([0.0, *values])]
    signal = y(SIGNAL)
    return Scatter(
        (("chart-limit-outer", _points([(_x(0, most), signal), (_x(most, most), signal)])), ("chart-actual", _points(places))),
        tuple((x, at, "") for (x, at), value in zip(places[1:], values, strict=True) if value >= SIGNAL),
        tuple((y(value), str(value)) for value in range(0, int(top) + 1, 2)),
        tuple((_x(n, most), str(n)) for n in range(0, most + 1, most // 4)),
        ((_x(most, most) + 6, signal + 4, f"signal {SIGNAL}"),),
    )


# --- the participant flow --------------------------------------------------------------------------------------------

_FLOW_WIDTH, _STEP_WIDTH, _APART, _LINE, _PAD = 900, 410, 26, 19, 12
_CHARACTER = 7.4


@dataclass(frozen=True)
class Drawn:
    """A box with its lines of text: where each stands, its words, and whether it is the heading."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[tuple[float, str, bool], ...]


@dataclass(frozen=True)
class Diagram:
    """Boxes, and arrows between them as points."""

    boxes: tuple[Drawn, ...]
    arrows: tuple[str, ...]
    width: int
    height: int


def flow(found: Flow) -> Diagram:
    """The participant flow: steps in a column with those who left beside them, then a column for each group. Zeros are left out."""
    boxes: list[Drawn] = []
    arrows: list[str] = []
    y = 10.0
    above: list[Drawn] = []
    for step, left in found.steps:
        box = _drawn(step, 10, y, _STEP_WIDTH)
        arrows += [_points(_elbow(over, box)) for over in above]
        boxes.append(box)
        above, bottom = [box], y + box.height
        if left is not None:
            aside = _drawn(left, 10 + _STEP_WIDTH + 2 * _APART, y, _FLOW_WIDTH - _STEP_WIDTH - 2 * _APART - 20)
            boxes.append(aside)
            at = y + min(box.height, aside.height) / 2
            arrows.append(_points([(box.x + box.width, at), (aside.x, at)]))
            bottom = max(bottom, y + aside.height)
        y = bottom + _APART
    split, count = any(group.label for group in found.groups), len(found.groups)
    wide = min(_STEP_WIDTH, (_FLOW_WIDTH - 20 - _APART * (count - 1)) / count)
    above *= count
    for parts in list(zip(*(group.boxes for group in found.groups), strict=True))[0 if split else 1 :]:
        row = [_drawn(_named(part, found, i), 10 + i * (wide + _APART), y, wide) for i, part in enumerate(parts)]
        arrows += [_points(_elbow(over, box)) for over, box in zip(above, row, strict=True)]
        boxes += row
        above, y = row, y + max(box.height for box in row) + _APART
    return Diagram(tuple(boxes), tuple(arrows), _FLOW_WIDTH, round(y - _APART + 10))


def _named(box: FlowBox, found: Flow, column: int) -> FlowBox:
    """The first box of a group bears its label."""
    group = found.groups[column]
    return replace(box, words=f"{group.label}: allocated") if box is group.boxes[0] else box


def _drawn(box: FlowBox, x: float, y: float, wide: float) -> Drawn:
    """A box as high as its text."""
    room = int((wide - 2 * _PAD) / _CHARACTER)
    words = [(text, True) for text in textwrap.wrap(f"{box.words} (n = {box.count})", room)]
    for line in box.lines:
        if line.count:
            words += [(text, False) for text in textwrap.wrap(f"{line.words}: {line.count}", room, subsequent_indent="    ")]
    lines = tuple((y + _PAD + 13 + i * _LINE, text, strong) for i, (text, strong) in enumerate(words))
    return Drawn(x, y, wide, 2 * _PAD + len(words) * _LINE - 4, lines)


def _elbow(over: Drawn, under: Drawn) -> list[tuple[float, float]]:
    """From the foot of one box to the head of another: straight, or round a corner where they do not stand below each other."""
    (left, foot), (right, head) = (over.x + over.width / 2, over.y + over.height), (under.x + under.width / 2, under.y)
    turn = head - _APART / 2
    return [(left, foot), (right, head)] if left == right else [(left, foot), (left, turn), (right, turn), (right, head)]


# --- lifecycles ------------------------------------------------------------------------------------------------------

_BOX_WIDTH, _BOX_HEIGHT, _GAP = 190, 40, 34


@dataclass(frozen=True)
class Box:
    """One state on the usual way through a lifecycle, with the step that leads to the next one."""

    state: str
    x: float
    y: float
    step: str


@dataclass(frozen=True)
class Path:
    """The usual way through a lifecycle as a column of boxes."""

    boxes: tuple[Box, ...]
    width: int
    height: int


def paths(machine: Mapping[str, tuple[tuple[str, ...], str]], first: str) -> Path:
    """The usual way through a lifecycle: from the first state, each time the first step that leads to a new one."""
    states, steps = [first], []
    while True:
        onward = [(event, to) for event, (sources, to) in machine.items() if states[-1] in sources and to not in states]
        if not onward:
            break
        steps.append(onward[0][0])
        states.append(onward[0][1])
    named = enumerate(zip(states, [*steps, ""], strict=True))
    boxes = tuple(Box(state, 10, 10 + i * (_BOX_HEIGHT + _GAP), step) for i, (state, step) in named)
    return Path(boxes, 340, 20 + len(boxes) * (_BOX_HEIGHT + _GAP) - _GAP)


# --- drawings made elsewhere -----------------------------------------------------------------------------------------


def within_page(svg: str) -> str:
    """A drawing whose style attributes, which pages forbid, are attributes of their own; the page gives it its width."""
    svg = re.sub(r"<style\b.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r' style="([^"]*)"', lambda found: _attributes(found[1]), svg)
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 class="drawing" stroke-linejoin="round"', svg, count=1)


def _attributes(style: str) -> str:
    pairs = [part.partition(":") for part in style.split(";") if part.strip()]
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in pairs)
