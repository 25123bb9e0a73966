"""Whether the time that a page takes tells the arm: the same pages in both twins, asked for in turn, for blinded roles."""

import random
import tempfile
from pathlib import Path
from statistics import median

from tests import walk
from tests.api.test_concealment import Visitor
from tests.bench.worlds import line, seconds
from tests.conftest import furnished
from tests.twins import Twins, twins_of

REPEATS = 40
RESAMPLES = 2000
WHO = (("research-nurse", "S01"), ("data-manager", ""), ("statistician-blinded", ""))

#: Pages whose content comes nearest to what is hidden.
ROUTES = ("participants.one", "participants.listing", "trials.trial", "queries.listing", "visits.listing", "api_participants.one",
          "api_trials.audit", "notices.inbox", "reports.monitored", "safety.serious", "derived.of_trial")  # fmt: skip


def run() -> None:
    """Print for each role the ratio of the medians of both twins, pooled over pages, and its interval of 95 %."""
    with tempfile.TemporaryDirectory() as folder:
        twins = twins_of(furnished(Path(folder) / "template"), Path(folder))
        for person in WHO:
            _measure(twins, person)


def _measure(twins: Twins, person: tuple[str, str]) -> None:
    visitors = [Visitor(world, *person) for world in twins.worlds]
    asked = [one for one in walk.addresses(twins) if one.rule.split()[0] in ROUTES]
    pairs: list[tuple[list[float], list[float]]] = []
    for address in asked:
        took: tuple[list[float], list[float]] = ([], [])
        for turn in range(REPEATS + 2):
            for which in (0, 1) if turn % 2 else (1, 0):
                spent = seconds(lambda which=which, path=address.paths[which]: visitors[which].get(path).close())
                took[which].extend([spent] if turn > 1 else [])
        pairs.append(took)
    ratio, low, high = _interval(pairs)
    apart = median(abs(median(one) - median(other)) for one, other in pairs)
    line(
        f"blinding-timing, {person[0]}: {len(asked)} pages, ratio {ratio:5.3f} (95 % {low:5.3f} to {high:5.3f}), "
        f"medians of a page {1000 * apart:4.2f} ms apart"
    )


def _interval(pairs: list[tuple[list[float], list[float]]]) -> tuple[float, float, float]:
    """The ratio of what the pages take in both twins, by their medians, and its bootstrapped interval."""
    rng = random.Random(1)

    def ratio(resampled: bool) -> float:
        draw = (lambda times: rng.choices(times, k=len(times))) if resampled else list
        sums = [sum(median(draw(pair[which])) for pair in pairs) for which in (0, 1)]
        return sums[1] / sums[0]

    drawn = sorted(ratio(True) for _ in range(RESAMPLES))
    return ratio(False), drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
