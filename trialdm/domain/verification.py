"""Source data verification: which answers the monitor compares with the source, by the sampling rules of the protocol.

Pure. The draw that decides who is in a sample is an argument: nobody at a site can work it out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A sampling rule: which forms (all where none is named), visits and items (empty: all), of which participants.

    `first` takes the first so many of each site, `percent` a random part of them; neither takes everybody.
    """

    forms: tuple[str, ...] = ()
    visits: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    first: int = 0
    percent: int = 0
    source: str = ""

    @property
    def words(self) -> str:
        """What the rule names, and of whom."""
        what = f"{', '.join(self.forms) or 'all forms'}{' at ' + ', '.join(self.visits) if self.visits else ''}"
        what += f" ({', '.join(self.items)})" if self.items else ""
        whom = [f"the first {self.first} of each site"] if self.first else []
        whom += [f"{self.percent} per cent"] if self.percent else []
        return f"{what}, of {' and of '.join(whom) or 'everybody'}"

    def takes(self, number: int, draw: int) -> bool:
        """Whether a participant is in the sample: by their number within the site, or by a draw from 0 to 99."""
        if not self.first and not self.percent:
            return True
        return 0 < number <= self.first or draw < self.percent


def wanted(rules: Sequence[Sample], form: str, visit: str, items: Iterable[str], *, number: int, draw: int) -> frozenset[str]:
    """Those items of a form whose answers are to be verified: whatever one of the rules names."""
    found: set[str] = set()
    for rule in rules:
        if (not rule.forms or form in rule.forms) and (not rule.visits or visit in rule.visits) and rule.takes(number, draw):
            found |= set(items) & set(rule.items) if rule.items else set(items)
    return frozenset(found)
