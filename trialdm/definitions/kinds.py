"""What expressions may make of an item: the kind of its name, and the kinds from which a calculated one may come."""

from trialdm.domain.crf import Item
from trialdm.domain.expressions import KINDS, Name

#: The kind of the result that each type of a calculated item may come from.
RESULT_KINDS = {**{t: {k} for t, k in KINDS.items()}, "yn": {"number", "truth"}}


def as_name(item: Item) -> Name:
    """What an expression knows of an item that it names."""
    codes = frozenset(item.codelist.labels) if item.codelist and item.holds in ("code", "multi") else None
    return Name(KINDS.get(item.holds, "text"), frozenset({0, 1}) if item.holds == "yn" else codes)
