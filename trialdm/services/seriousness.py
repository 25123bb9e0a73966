"""What saving a serious adverse event or a death brings: a lowered causality that is told, the list that a judgement was made
against, and what is still to do after a death."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from trialdm.domain import values
from trialdm.domain.crf import Answers, Context, Finding, Form, Verdict
from trialdm.domain.errors import Detail, Invalid
from trialdm.domain.protocol import EXPECTED_LIST, Protocol
from trialdm.services.casebooks import Casebook, Stored

if TYPE_CHECKING:  # saving a form stands on this room
    from trialdm.services.places import Place

#: The criterion of seriousness that is a death, and the outcome of an event that is one.
DEATH, FATAL = 1, 5

#: Who hears that a doctor took back relatedness after the sponsor had assessed the event.
_HEARS = ("safety-reviewer", "chief-investigator")


def _named(form: Form) -> dict[str, str]:
    """The items of a form by what they mean."""
    return {item.means: item.name for item in form.items if item.means}


def against(place: "Place", before: Answers, sent: Mapping[str, Any], beside: Context) -> Context:
    """The context with the list of expected events against which expectedness is judged: the one of the day of the judgement.

    A judgement that stands keeps its list.
    """
    item, expected = (next((i for i in place.form.items if i.system == EXPECTED_LIST), None), _named(place.form).get("serious_expected"))
    if item is None or expected is None:
        return beside
    system = {name: value for name, value in beside.system.items() if name != item.name}
    raw = sent.get(expected)
    now = place.protocol.expected_on(_today(beside))
    if raw is not None and str(raw) == str(values.write(before.values.get(expected))) and item.name in before.values:
        system[item.name] = before.values[item.name]
    elif raw not in (None, "") and now is not None:
        system[item.name] = now.name
    return replace(beside, system=system)


def _today(beside: Context) -> date:
    today = beside.facts["today"]
    assert isinstance(today, date)
    return today


def lowered(place: "Place", before: Answers, verdict: Verdict, reason: str) -> list[Finding]:
    """The alert that a doctor lowered the relatedness of an event after the sponsor had assessed it. Raises Invalid without a reason."""
    named = _named(place.form)
    site, sponsor = named.get("serious_related", ""), named.get("serious_related_sponsor", "")
    was, now = before.values.get(site), verdict.answers.values.get(site)
    if not isinstance(was, int) or sponsor not in before.values or (isinstance(now, int) and now >= was):
        return []
    if not reason.strip():
        raise Invalid(
            "The sponsor has assessed this event: say why its relatedness is lowered.",
            code="CRF.REASON_NEEDED",
            needs="A reason for the change.",
            details=[Detail("CRF.REASON_NEEDED", "Give the reason for lowering the relatedness.", "reason")],
        )
    item = place.form.by_name[site]
    labels = item.codelist.labels if item.codelist else {}
    message = (
        f"The site lowered the relatedness of a serious event after the sponsor had assessed it: '{labels.get(was, was)}' became "
        f"'{labels.get(now, 'no answer') if isinstance(now, int) else 'no answer'}'. Read the reason, and assess the event again."
    )
    return [Finding("SAFETY-01", "SAFETY.LOWERED", "alert", message, (site,), _HEARS)]


def after_death(place: "Place", protocol: Protocol, book: Casebook) -> list[Finding]:
    """What is still to do after a death, said whenever the death or an event that was fatal is saved."""
    stored = book.get(*place.key)
    named = _named(place.form)
    if stored is None:
        return []
    said = stored.answers(place.form).values
    item = named.get("death_date") or named.get("serious_criteria") or ""
    died = "death_date" in named or DEATH in (said.get(item) or ())  # type: ignore[operator]
    if item not in said or not died:
        return []
    left = list(to_do(protocol, book))
    if not left:
        return []
    message = f"A death is recorded, and this is still to do: {'; '.join(left)}."
    return [Finding("SAFETY-02", "SAFETY.DEATH", "alert", message, (item,), ("principal-investigator", "trial-manager"))]


def to_do(protocol: Protocol, book: Casebook) -> Iterator[str]:
    """The forms that a death still needs, in words."""
    death, outcome, criteria = (protocol.meaning(name) for name in ("death_date", "event_outcome", "serious_criteria"))
    if death and not any(stored.finished for stored in book.all_of(death[0].code)):
        yield f"complete the form '{death[0].title}'"
    if outcome and not any(_answer(stored, outcome) == FATAL for stored in book.all_of(outcome[0].code)):
        yield f"enter the event in '{outcome[0].title}' with a fatal outcome"
    if criteria and not any(DEATH in (_answer(stored, criteria) or ()) for stored in book.all_of(criteria[0].code)):
        yield f"enter '{criteria[0].title}' with death as a criterion: it must reach the sponsor within 24 hours of awareness"


def _answer(stored: Stored, at: tuple[Form, Any]) -> Any:
    return stored.answers(at[0]).values.get(at[1].name)
