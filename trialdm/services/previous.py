"""What was answered at the visit before, for forms on which continuity matters. It is read only: nothing is copied from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from trialdm.domain import roles
from trialdm.domain.crf import Answers
from trialdm.domain.protocol import Visit
from trialdm.services import places
from trialdm.services.casebooks import Stored
from trialdm.services.places import Place
from trialdm.services.unit import Unit


@dataclass(frozen=True)
class Earlier:
    """The finished rows of the form (one, where it has no rows) at the latest earlier visit."""

    visit: Visit
    rows: Sequence[tuple[int, Answers]]


def answers(unit: Unit, place: Place) -> Earlier | None:
    """What the reader may know of the latest earlier visit at which the form is finished; None where there is none.

    Nobody who assesses outcomes there is shown anything: an assessment is not to lean on the last one. Before an unscheduled
    visit comes every scheduled one.
    """
    protocol, form, site = place.protocol, place.form, place.participant.site
    loose = place.visit_code != place.visit.code
    if not form.previous or (place.visit.kind == "repeating" and not loose):
        return None
    if roles.assesses(unit.actor.grants, form.kind, protocol.id, site):
        return None
    hides = not unit.sees_allocations(protocol.id, site)
    found: dict[str, list[Stored]] = {}
    for stored in places.book(unit, place).all_of(form.code):
        if stored.finished and not (hides and stored.instance.restricted):
            found.setdefault(stored.instance.visit, []).append(stored)
    scheduled = [visit for visit in protocol.visits if visit.kind != "repeating" and visit.code in found]
    before = [visit for visit in scheduled if loose or visit.number < place.visit.number]
    if not before:
        return None
    visit = max(before, key=lambda one: one.number)
    rows = [(stored.instance.row, _without_restricted(stored, place, hides)) for stored in found[visit.code]]
    return Earlier(visit, rows)


def _without_restricted(stored: Stored, place: Place, hides: bool) -> Answers:
    given = stored.answers(place.form)
    if not hides:
        return given
    names = {item.name for item in place.form.items if not place.form.restricts(item)}
    return Answers({n: v for n, v in given.values.items() if n in names}, {n: r for n, r in given.missing.items() if n in names})
