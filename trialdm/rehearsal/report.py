"""A rehearsal as one HTML document that needs nothing else: assumptions, tables, plots, exact values, and how to check it."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from trialdm.documents import page
from trialdm.rehearsal.plots import plots
from trialdm.rehearsal.simulate import CHUNK, Rehearsal, sha256

#: Figures stand below each other at the right; what names a row at the left.
_FIGURES = "th, td { text-align: right } th[scope=row], thead th:first-child { text-align: left }\n"

_MEASURES = (
    "Imbalance is the largest less the smallest of n / r over the arms, n participants and r the ratio of the arm: for two arms 1:1, "
    "the difference in numbers. Loss is the sum over arms of (n - expected)² / expected: for two arms 1:1, the squared difference "
    "over the number of participants. A guesser who remembers names the arm that is behind (smallest n / r) among the allocations "
    "remembered, and picks among equals at random. One who knows the full state, the size of the current block included, names the "
    "likeliest arm. An allocation is certain when the state leaves one arm only. Levels of different factors, and site, are "
    "independent of each other in the simulated recruits."
)


def document(rehearsals: Sequence[Rehearsal], *, title: str, signatures: Sequence[str] = ()) -> str:
    """The document of one rehearsal or of a comparison. `signatures`: the texts of the places for signing."""
    if not rehearsals:
        raise ValueError("there is no rehearsal to report")
    parts = [
        f"<h1>{escape(title)}</h1>",
        _assumptions(rehearsals[0].data),
        _schemes(rehearsals),
        "<h2>Balance</h2>",
        *_balance(rehearsals),
        "<h2>Secrecy</h2>",
        *_secrecy(rehearsals),
        "<h2>Plots</h2>",
        *(f"<figure>{plot.svg}<figcaption>{escape(plot.words)}</figcaption></figure>" for plot in plots(rehearsals)),
        "<h2>Exact values</h2>",
        *_exact(rehearsals),
        _how(rehearsals),
        *_signing(signatures),
    ]
    return page.frame(title, page.STYLE + _FIGURES, "\n".join(parts))


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return page.table(page.Rows(caption, columns, rows))


def _number(value: Any, places: int = 2) -> str:
    return "–" if value is None else f"{value:.{places}f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _percent(rate: Mapping[str, Any] | None) -> str:
    return "–" if rate is None else f"{100 * rate['rate']:.2f} % (± {100 * rate['se']:.2f})"


def _spread(found: Mapping[str, Any] | None) -> list[str]:
    return ["–"] * 5 if found is None else [_number(found[key]) for key in ("mean", "p5", "p50", "p95", "max")]


def _assumptions(data: Mapping[str, Any]) -> str:
    recruits = [("site", data["recruitment"]["sites"]), *((f["name"], f["levels"]) for f in data["recruitment"]["factors"])]
    rows = [[name, level, f"{100 * share:.1f} %"] for name, levels in recruits for level, share in levels]
    asked = f"{data['trials']} simulated trials of {data['participants']} participants each, seed {data['seed']}."
    slots = f" Lists have {data['slots']} places in each stratum." if data["slots"] is not None else ""
    table = _table("Shares of the simulated recruits", ["Factor", "Level", "Share"], rows)
    return f"<h2>Assumptions</h2><p>{escape(asked + slots)}</p>{table}<p>{escape(_MEASURES)}</p>"


def _schemes(rehearsals: Sequence[Rehearsal]) -> str:
    rows = []
    for rehearsal in rehearsals:
        config = rehearsal.data["config"]
        arms = ", ".join(f"{code} {ratio}" for code, ratio in config["arms"])
        other = {key: value for key, value in config.items() if key not in ("arms", "factors")}
        factors = ", ".join(f"{f['name']} (weight {f['weight']})" if "weight" in f else f["name"] for f in config.get("factors", []))
        rows.append([rehearsal.name, arms, factors or "none", ", ".join(f"{key} {value}" for key, value in sorted(other.items()))])
    return _table("Schemes", ["Scheme", "Arms and ratio", "Factors", "Settings"], rows)


_SPREAD = ["mean", "5th percentile", "median", "95th percentile", "largest"]


def _balance(rehearsals: Sequence[Rehearsal]) -> list[str]:
    by_scheme = [
        (rehearsal.name, rehearsal.data["imbalance"], rehearsal.data["strata"], rehearsal.data["deterministic"]) for rehearsal in rehearsals
    ]
    tables = []
    for caption, key in (("Imbalance overall, at the end", "overall"), ("Largest imbalance overall on the way", "most_on_the_way")):
        tables.append(_table(caption, ["Scheme", *_SPREAD], [[name, *_spread(found[key])] for name, found, _, _ in by_scheme]))
    tables.append(
        _table(
            "Exact balance and loss",
            ["Scheme", "Trials that end in exact balance (± standard error)", "Loss (± standard error)"],
            [
                [name, _percent(found["balanced"]), f"{_number(found['loss']['rate'], 4)} (± {_number(found['loss']['se'], 4)})"]
                for name, found, _, _ in by_scheme
            ],
        )
    )
    tables.append(
        _table(
            "Imbalance of each level, at the end",
            ["Scheme", "Factor", "Level", *_SPREAD],
            [
                [name, factor["name"], level, *_spread(spread)]
                for name, found, _, _ in by_scheme
                for factor in [*found["factors"], found["site"]]
                for level, spread in [("worst level", factor["worst"]), *((each["level"], each) for each in factor["levels"])]
            ],
        )
    )
    tables.append(
        _table(
            "Strata",
            ["Scheme", "Strata", "Empty (mean)", "Open blocks (mean)", "Trials in which a list runs out", "People turned away (mean)"],
            [
                [
                    name,
                    str(strata["number"]),
                    _number(strata["empty"]["mean"]),
                    _number(strata["unfinished_blocks"] and strata["unfinished_blocks"]["mean"]),
                    _percent(strata["list"] and strata["list"]["runs_out"]),
                    _number(strata["list"] and strata["list"]["turned_away"]),
                ]
                for name, _, strata, _ in by_scheme
            ],
        )
    )
    return tables


def _secrecy(rehearsals: Sequence[Rehearsal]) -> list[str]:
    found = [rehearsal.data["guesses"] for rehearsal in rehearsals]
    rows = [
        ["own site", *(_percent(one["site"]) for one in found)],
        *([f"own site, by {f['name']}", *(_percent(one["site_by_factor"][i]) for one in found)] for i, f in _numbered(found)),
        ["whole trial", *(_percent(one["trial"]) for one in found)],
        *([f"whole trial, by {f['name']}", *(_percent(one["trial_by_factor"][i]) for one in found)] for i, f in _numbered(found)),
        ["whole trial, within the stratum", *(_percent(one["stratum"]) for one in found)],
        ["full state", *(_percent(one["state"]) for one in found)],
        ["certain allocations", *(_percent(rehearsal.data["deterministic"]) for rehearsal in rehearsals)],
    ]
    names = [rehearsal.name for rehearsal in rehearsals]
    return [_table("Right guesses of the next arm (± standard error), by what is remembered", ["What is remembered", *names], rows)]


def _numbered(found: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    return list(enumerate(found[0]["site_by_factor"]))


#: Exact measures, in words, and where the simulated value of each is.
_EXACT: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("overall", "mean imbalance at the end", lambda data: data["imbalance"]["overall"]["mean"]),
    ("most_on_the_way", "mean of the largest imbalance", lambda data: data["imbalance"]["most_on_the_way"]["mean"]),
    ("balanced", "chance of exact balance", lambda data: data["imbalance"]["balanced"]["rate"]),
    ("loss", "loss", lambda data: data["imbalance"]["loss"]["rate"]),
    ("trial", "right guesses, whole trial remembered", lambda data: data["guesses"]["trial"]["rate"]),
    ("state", "right guesses, full state", lambda data: data["guesses"]["state"]["rate"]),
    ("deterministic", "certain allocations", lambda data: data["deterministic"]["rate"]),
)


def _exact(rehearsals: Sequence[Rehearsal]) -> list[str]:
    rows = [
        [rehearsal.name, words, _number(float(rehearsal.data["exact"][key]), 6), _number(float(simulated(rehearsal.data)), 6)]
        for rehearsal in rehearsals
        if rehearsal.data["exact"]
        for key, words, simulated in _EXACT
    ]
    without = [
        f"<p>{escape(rehearsal.name)}: {escape(rehearsal.data['no_exact_value'])}.</p>"
        for rehearsal in rehearsals
        if not rehearsal.data["exact"]
    ]
    return [*([_table("Exact beside simulated", ["Scheme", "Measure", "Exact", "Simulated"], rows)] if rows else []), *without]


def _how(rehearsals: Sequence[Rehearsal]) -> str:
    data = rehearsals[0].data
    words = (
        f"Every trial follows the rule of its scheme participant by participant, in chunks of {CHUNK} trials, with random numbers of the "
        f"generator PCG64 from the seed {data['seed']}: the same seed, schemes and shares give the same figures. Schemes are compared on "
        "the same recruits. Standard errors are of the simulation, over trials. Exact values are computed with fractions."
    )
    what = "the figures" if len(rehearsals) == 1 else "the array of the figures of each scheme"
    checked = f"SHA-256 of the canonical JSON of {what}: "
    return f"<h2>How it was computed</h2><p>{escape(words)}</p><p>{escape(checked)}<code>{sha256(rehearsals)}</code></p>"


def _signing(signatures: Sequence[str]) -> list[str]:
    if not signatures:
        return []
    return ["<h2>Signatures</h2>", *(f'<div class="sign">{escape(text)}</div>' for text in signatures)]
