"""Plots of a rehearsal as SVG text, each with a paragraph that says the same in words.

Drawn without a display or a font file; the same figures always give the same text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from trialdm.rehearsal.simulate import Rehearsal

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_MARKERS = ("o", "s", "^", "D")
_HATCHES = ("", "///", "...", "xxx")


@dataclass(frozen=True)
class Plot:
    """A picture and the same in words."""

    title: str
    svg: str
    words: str


def plots(rehearsals: Sequence[Rehearsal]) -> list[Plot]:
    """Every plot that the figures allow: without factors there is none of factors."""
    made = [overall(rehearsals), guesses(rehearsals)]
    return [*made, factors(rehearsals)] if rehearsals[0].data["imbalance"]["factors"] else made


def overall(rehearsals: Sequence[Rehearsal]) -> Plot:
    """How the imbalance between the arms at the end is distributed."""
    title = "Imbalance between the arms at the end of recruitment"
    equal = all(ratio == 1 for rehearsal in rehearsals for _, ratio in rehearsal.data["config"]["arms"])

    def draw(axes: Any) -> None:
        for index, rehearsal in enumerate(rehearsals):
            values, shares = zip(*rehearsal.data["imbalance"]["overall"]["distribution"], strict=True)
            percent = [100 * share for share in shares]
            axes.plot(values, percent, color=_COLOURS[index], marker=_MARKERS[index], markersize=4, label=rehearsal.name)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Imbalance (participants)" if equal else "Imbalance (participants per unit of ratio)")
        axes.set_ylabel("Trials (%)")

    return Plot(title, _svg(title, "overall", draw), f"{title}. {overall_in_words(rehearsals)}")


def overall_in_words(rehearsals: Sequence[Rehearsal]) -> str:
    """The distribution of the overall imbalance as one paragraph."""
    told = ((rehearsal.name, rehearsal.data["imbalance"]["overall"]) for rehearsal in rehearsals)
    return " ".join(
        f"{_capital(name)}: mean {_short(found['mean'])}, at most {_short(found['p95'])} in 95 % of trials, largest {_short(found['max'])}."
        for name, found in told
    )


def _rates(rehearsal: Rehearsal) -> list[tuple[str, float]]:
    found = rehearsal.data["guesses"]
    within = [rate["rate"] for rate in found["site_by_factor"]]
    across = [rate["rate"] for rate in found["trial_by_factor"]] + ([found["stratum"]["rate"]] if found["stratum"] else [])
    return [
        ("Own site", found["site"]["rate"]),
        ("Own site,\nbest factor", max([found["site"]["rate"], *within])),
        ("Whole trial", found["trial"]["rate"]),
        ("Whole trial,\nbest factor", max([found["trial"]["rate"], *across])),
        ("Full state", found["state"]["rate"]),
    ]


def guesses(rehearsals: Sequence[Rehearsal]) -> Plot:
    """How often the next arm is guessed, by what the guesser remembers."""
    title = "Right guesses of the next arm, by what is remembered"

    def draw(axes: Any) -> None:
        _bars(axes, rehearsals, [[(name, 100 * rate) for name, rate in _rates(rehearsal)] for rehearsal in rehearsals])
        axes.set_xlabel("What the guesser remembers")
        axes.set_ylabel("Right guesses (%)")
        axes.set_ylim(0, 100)

    return Plot(title, _svg(title, "guesses", draw), f"{title}. {guesses_in_words(rehearsals)}")


def guesses_in_words(rehearsals: Sequence[Rehearsal]) -> str:
    """The rates of right guesses as one paragraph."""
    return " ".join(
        f"{_capital(rehearsal.name)}: " + ", ".join(f"{_plain(name).lower()} {100 * rate:.1f} %" for name, rate in _rates(rehearsal)) + "."
        for rehearsal in rehearsals
    )


def _worst(rehearsal: Rehearsal) -> list[tuple[str, float]]:
    found = rehearsal.data["imbalance"]
    return [(factor["name"], factor["worst"]["mean"]) for factor in [*found["factors"], found["site"]]]


def factors(rehearsals: Sequence[Rehearsal]) -> Plot:
    """The imbalance of the worst level of each factor, and of the worst site."""
    title = "Imbalance of the worst level of each factor"

    def draw(axes: Any) -> None:
        _bars(axes, rehearsals, [_worst(rehearsal) for rehearsal in rehearsals])
        axes.set_xlabel("Factor")
        axes.set_ylabel("Mean imbalance of the worst level")

    return Plot(title, _svg(title, "factors", draw), f"{title}. {factors_in_words(rehearsals)}")


def factors_in_words(rehearsals: Sequence[Rehearsal]) -> str:
    """The imbalance of the worst levels as one paragraph."""
    return " ".join(
        f"{_capital(rehearsal.name)}: mean of the worst level "
        + ", ".join(f"{name} {_short(mean)}" for name, mean in _worst(rehearsal))
        + "."
        for rehearsal in rehearsals
    )


def _bars(axes: Any, rehearsals: Sequence[Rehearsal], heights: Sequence[Sequence[tuple[str, float]]]) -> None:
    """Groups of bars, one bar in each for every scheme."""
    width = 0.8 / len(rehearsals)
    for index, (rehearsal, pairs) in enumerate(zip(rehearsals, heights, strict=True)):
        places = [group + (index - (len(rehearsals) - 1) / 2) * width for group in range(len(pairs))]
        axes.bar(
            places,
            [height for _, height in pairs],
            width,
            label=rehearsal.name,
            color=_COLOURS[index],
            hatch=_HATCHES[index],
            edgecolor="white",
        )
    axes.set_xticks(range(len(heights[0])), [name for name, _ in heights[0]])


def _svg(title: str, key: str, draw: Callable[[Any], None]) -> str:
    """One plot as an SVG element that can stand inside a page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.hashsalt": f"trialdm {key}",
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=1)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), key)


def _inline(svg: str, key: str) -> str:
    """Without the prologue, hidden from readers of the text beside it, with identifiers of its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\bid="|href="#|url\(#)', lambda found: f"{found[1]}{key}-", body)
    return body.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1).strip()


def _plain(name: str) -> str:
    return name.replace("\n", " ")


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
