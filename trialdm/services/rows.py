"""Several rows of a form in one step: each judged and saved as a row by itself, and all of them or none."""

from collections.abc import Sequence
from dataclasses import replace

from trialdm.domain.crf import Form
from trialdm.domain.errors import Detail, Invalid, TrialError, Unanswered
from trialdm.services import drafts, records
from trialdm.services.places import Place
from trialdm.services.records import Submission, View
from trialdm.services.unit import Unit

#: Types whose answers fit into the cell of a table.
_SHORT = frozenset({"int", "dec", "date", "pdate", "time", "dtm", "yn", "code"})

#: With more questions than this, a row has a page of its own only.
_MOST = 6


def short(form: Form) -> bool:
    """Whether all rows of the form can be entered in one table: few short answers, typed once, and no row hidden from anybody."""
    asked = [item for item in form.items if item.typed_in]
    few = form.repeating and len(asked) <= _MOST and all(item.type in _SHORT for item in asked)
    return few and form.restricted_when is None and not form.double_entry


def save(unit: Unit, place: Place, sent: Sequence[tuple[int, Submission]]) -> list[View]:
    """Save these rows, each through `records.save`.

    Raises Invalid where one of them cannot be saved, with a detail for everything that was found in any row, and Unanswered where
    soft findings alone are left. The place of a detail is `ROW.ITEM`, or `ROW` where it is about the row as a whole.
    """
    views: list[View] = []
    details: list[Detail] = []
    for row, submission in sent:
        at = replace(place, row=row)
        try:
            views.append(records.save(unit, at, submission))
            drafts.drop(unit, at)
        except TrialError as problem:
            details += _details(row, problem)
    if any(detail.severity != "soft" for detail in details):
        raise Invalid("Some rows need to be put right; none was saved.", code="CRF.ROWS", details=details)
    if details:
        raise Unanswered("Some rows need to be checked and confirmed; none was saved.", details=details)
    return views


def _details(row: int, problem: TrialError) -> list[Detail]:
    """What was found in a row; what is about the reason for a change is about all rows."""
    if not problem.details:
        return [Detail(problem.code, f"Row {row}: {problem.message} {problem.needs}".strip(), str(row))]
    return [
        Detail(d.code, d.message, d.place, severity=d.severity)
        if d.place == "reason"
        else Detail(d.code, f"Row {row}: {d.message}", f"{row}.{d.place.partition(',')[0]}", severity=d.severity)
        for d in problem.details
    ]
