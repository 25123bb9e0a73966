"""Who has to consent again: a table of versions at a site and consents of somebody, and what waits on a day."""

from datetime import date
from typing import Any

import pytest

from trialdm.domain.ethics import Document, Modification, Register, Step
from trialdm.domain.ethics.reconsent import renewals
from trialdm.domain.protocol import Site

SITE = Site("S01", "Northbridge Royal Infirmary", "ENG")
JAN, FEB, MARCH, APRIL, MAY = (date(2026, month, 1) for month in range(1, 6))


def version(code: int, asks: str = "", starts: date | None = None, **more: Any) -> Document:
    first = starts or date(2026, code, 1)
    return Document("ICF", code, f"{code}.0", first, first, first, reconsent=asks, **more)


def consents(*codes: int) -> list[tuple[date, dict[str, int]]]:
    """One consent at the middle of each month from January on."""
    return [(date(2026, month, 15), {"ICF": code}) for month, code in enumerate(codes, 1)]


#: What it shows, versions, consents, day, and what is found: (version to consent on, given before, since, urgency, done).
CASES = [
    ("nobody asks", [version(1), version(2)], consents(1), MAY, []),
    ("a version asks", [version(1), version(2, "block")], consents(1), MAY, [(2, 1, FEB, "block", None)]),
    ("a version warns", [version(1), version(2, "warn")], consents(1), MAY, [(2, 1, FEB, "warn", None)]),
    ("not before the site uses it", [version(1), version(2, "warn")], consents(1), date(2026, 1, 31), []),
    ("from the site's own day on", [version(1), version(2, "warn", sites={"S01": APRIL})], consents(1), MAY, [(2, 1, APRIL, "warn", None)]),
    ("another site's day is another's", [version(1), version(2, "warn", sites={"S02": JAN})], consents(1), JAN, []),
    ("another nation's version is another's", [version(1), version(2, "block", nations=("SCO",))], consents(1), MAY, []),
    ("a revoked version asks no more", [version(1), version(2, "block", revoked_on=MARCH)], consents(1), MAY, []),
    ("consented on it from the start", [version(1), version(2, "block")], consents(2), MAY, []),
    ("done", [version(1), version(2, "block")], consents(1, 2), MAY, [(2, 1, FEB, "block", date(2026, 2, 15))]),
    ("a later version asks for nothing", [version(1), version(2, "block"), version(3)], consents(1), MAY, [(3, 1, FEB, "block", None)]),
    (
        "the most urgent of several, since the first",
        [version(1), version(2, "warn"), version(3, "block")],
        consents(1),
        MAY,
        [(3, 1, FEB, "block", None)],
    ),
    (
        "done once, and due again",
        [version(1), version(2, "block"), version(3, "warn")],
        consents(1, 2),
        MAY,
        [(2, 1, FEB, "block", date(2026, 2, 15)), (3, 2, MARCH, "warn", None)],
    ),
    (
        "consent on the newest answers both",
        [version(1), version(2, "block"), version(3, "warn")],
        consents(1, 3),
        MAY,
        [(2, 1, FEB, "block", date(2026, 2, 15)), (3, 1, MARCH, "warn", date(2026, 2, 15))],
    ),
    ("an older form by mistake asks again", [version(1), version(2, "block")], consents(1, 2, 1), MAY, [(2, 1, FEB, "block", None)]),
    ("no version on record", [version(1, "warn")], [(JAN, {})], MAY, [(1, 0, JAN, "warn", None)]),
    ("no consent, nothing to renew", [version(1), version(2, "block")], [], MAY, []),
]  # fmt: skip


@pytest.mark.parametrize(("versions", "given", "on", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_who_has_to_consent_again(versions: list[Document], given: Any, on: date, expected: list[tuple[Any, ...]]) -> None:
    found = renewals(Register(documents=tuple(versions)), SITE, given, on)
    assert [(r.document.code, r.given, r.since, r.urgency, r.done) for r in found] == expected


def test_a_version_of_a_modification_asks_once_the_site_agreed_or_had_its_days() -> None:
    """Category A: 35 days to object after the notice (GOV-24)."""
    told = Modification(
        "SM01",
        "New risk",
        ("participant_information",),
        "substantial",
        "A",
        JAN,
        steps=(Step("favourable", JAN), Step("notify", FEB, "S01")),
    )
    register = Register(documents=(version(1), version(2, "block", starts=JAN, modification="SM01")), modifications=(told,))
    assert renewals(register, SITE, consents(1), date(2026, 3, 7)) == []
    waiting = renewals(register, SITE, consents(1), date(2026, 3, 8))
    assert [(r.asked_by.modification, r.since) for r in waiting] == [("SM01", date(2026, 3, 8))]
