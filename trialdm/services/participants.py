"""Participants under pseudonyms: adding, finding, and what is known of one when somebody wants to act for them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import ethics, pseudonym
from trialdm.domain.crf import Form
from trialdm.domain.errors import Forbidden, Invalid, WrongState
from trialdm.domain.ethics import Answer, Capacity, ConsentGiven, Standing, withdrawal
from trialdm.domain.ethics.withdrawal import Withdrawal
from trialdm.domain.lifecycle import INITIAL, label
from trialdm.domain.protocol import Factor, Protocol, Scheme, Site
from trialdm.domain.schedule import End
from trialdm.services import casebooks, cases, gates, register, studies
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import LONDON, SYSTEM, Change, Unit, needed, remember
from trialdm.store.tables import Account, Allocation, FormVersion, Participant, Transfer

_TRIES = 20


def add(unit: Unit, trial: str, site: str, draw: Callable[[], str] | None = None) -> Participant:
    """A new participant of a site, screened, under a fresh random pseudonym: that of the identity vault where `draw` asks it for one.

    Raises WrongState unless trial and site are open.
    """
    protocol = studies.protocol(unit, trial)
    protocol.site(site)
    unit.require("history.import" if protocol.historical else "participant.add", trial, site)
    from trialdm.services import holds  # which finds participants

    register.lock(unit, trial)
    if not protocol.historical:
        for machine, subject, name in (("trial", trial, "trial"), ("site", site, f"site {site}")):
            found = studies.state(unit, trial, machine, subject)
            if found != "open":
                raise WrongState(
                    f"The {name} is {label(found)}: no participant can be added.",
                    code=f"STATE.{machine.upper()}",
                    needs=f"The {name} open.",
                )
        holds.require_site_free(unit, trial, site)
    last = unit.session.scalar(select(func.max(Participant.number)).where(Participant.trial_id == trial, Participant.enrolled_site == site))
    row = Participant(
        trial_id=trial,
        id=_unused(unit, trial, draw or (lambda: pseudonym.issue(unit.entropy(5)))),
        enrolled_site=site,
        number=(last or 0) + 1,
        added_at=unit.now,
        added_by=unit.actor.id,
    )
    unit.add(row)
    unit.record(
        "participant.add",
        row,
        trial=trial,
        entity="participant",
        entity_id=row.id,
        changes=[Change("site", None, site)],
        site=site,
    )
    unit.session.flush()
    unit.session.refresh(row, ["site"])
    studies.enter(unit, trial, protocol.machine, row.id, "create", INITIAL[protocol.machine], site=site)
    return row


def open_sites(unit: Unit, protocol: Protocol) -> list[Site]:
    """Sites at which the actor may add a participant now."""
    states = studies.states(unit, protocol.id, "site")
    if studies.state(unit, protocol.id) != "open":
        return []
    return [s for s in protocol.sites if states.get(s.code) == "open" and unit.may("participant.add", protocol.id, s.code)]


def _unused(unit: Unit, trial: str, draw: Callable[[], str]) -> str:
    for _ in range(_TRIES):
        fresh = draw()
        if unit.session.get(Participant, (trial, fresh)) is None:
            return fresh
    raise RuntimeError("no unused pseudonym was found")


def find(unit: Unit, trial: str, typed: str, action: str = "participant.see") -> Participant:
    """The participant that was typed. Raises Invalid for a typing error, Missing, or Forbidden for another site's (or clinician's)."""
    asked = (action, "participant.see") if studies.protocol(unit, trial).treats else (action,)
    for one in asked:
        unit.require(one, trial)
    row = known(unit, trial, typed)
    if not all(unit.may(one, trial, row.site) for one in asked):
        raise Forbidden(
            f"Participant {row.id} belongs to another site.",
            code="ROLE.SITE",
            needs="A role at the participant's site, or for the whole trial.",
        )
    if not cases.seen(unit, trial, row):
        raise Forbidden(
            f"Case {row.id} was entered by somebody else.",
            code="ROLE.OWN_CASES",
            needs="The clinician who entered it or operated, or the clinical governance lead.",
        )
    return row


def known(unit: Unit, trial: str, typed: str) -> Participant:
    """The participant that was typed, whoever asks. Raises Invalid for a typing error, or Missing."""
    try:
        row = unit.session.get(Participant, (trial, pseudonym.normalise(typed)))
    except ValueError as problem:
        raise Invalid(f"'{typed}' is not a participant: {problem}.", code="PARTICIPANT.WRITTEN") from None
    return needed(row, f"There is no participant {typed} in trial {trial}.", code="PARTICIPANT.UNKNOWN")


def gate(unit: Unit, trial: str, action: str, *, site: str = "", on: date | None = None, participant: str = "") -> Answer:
    """The gate's answer to a question, about a participant too where one is named."""
    protocol = studies.protocol(unit, trial)
    asked_about = None
    if participant:
        person = known(unit, trial, participant) if unit.actor is SYSTEM else find(unit, trial, participant)
        asked_about = readiness(unit, protocol, casebooks.read(unit, trial, person))
        site = site or person.site
    return gates.ask(unit, trial, action, site=site, on=on, participant=asked_about)


def gate_again(unit: Unit, trial: str, participant: str, scheme: Scheme) -> Answer:
    """The gate's answer to a later randomisation of a participant."""
    person = find(unit, trial, participant)
    standing = readiness_again(unit, studies.protocol(unit, trial), casebooks.read(unit, trial, person), scheme)
    return gates.ask(unit, trial, "randomise", site=person.site, participant=standing)


def listed(unit: Unit, trial: str) -> list[tuple[Participant, str]]:
    """The participants that the person may see, with their states, by site and number."""
    studies.definition(unit, trial)
    unit.require("participant.see", trial)
    protocol = studies.protocol(unit, trial)
    wanted = (
        select(Participant).where(Participant.trial_id == trial).order_by(Participant.site, Participant.enrolled_site, Participant.number)
    )
    sites = unit.sites("participant.see", trial)
    if sites is not None:
        wanted = wanted.where(Participant.site.in_(sites))
    states = studies.states(unit, trial, protocol.machine)
    first = INITIAL[protocol.machine]
    return [(row, states.get(row.id, first)) for row in unit.session.scalars(wanted) if cases.seen(unit, trial, row)]


def state(unit: Unit, trial: str, row: Participant) -> str:
    """The state of a participant."""
    return studies.state(unit, trial, studies.protocol(unit, trial).machine, row.id)


def screening_number(row: Participant) -> str:
    """The number in the screening log of the site that enrolled them, such as S01-S-0007."""
    return f"{row.enrolled_site}-S-{row.number:04d}"


def transfers(unit: Unit, row: Participant) -> list[Transfer]:
    """The moves of a participant between sites, oldest first."""
    wanted = select(Transfer).where(Transfer.trial_id == row.trial_id, Transfer.participant_id == row.id).order_by(Transfer.seq)
    return remember(unit, ("transfers", row.trial_id, row.id), lambda: list(unit.session.scalars(wanted)))


def site_on(unit: Unit, row: Participant, day: date) -> str:
    """The site that looked after a participant on a day."""
    return next((move.site for move in reversed(transfers(unit, row)) if move.day <= day), row.enrolled_site)


def describe(row: Participant, state: str) -> dict[str, Any]:
    """A participant as lists and the API show it: nothing that tells the allocation."""
    return {
        "participant": row.id,
        "site": row.site,
        "enrolled_site": row.enrolled_site,
        "number": row.number,
        "state": state,
        "added_at": row.added_at.isoformat(timespec="seconds"),
    }


def standing(unit: Unit, protocol: Protocol, book: Casebook) -> Standing:
    """What the gate needs to know of a participant before a form is saved, by the forms that the site works with."""
    protocol = studies.protocol_at(unit, protocol.id, book.participant.site)
    given = _consent(unit, protocol, book)
    return Standing(
        id=book.participant.id,
        state=studies.state(unit, protocol.id, protocol.machine, book.participant.id),
        consent=given,
        capacity=_capacity(protocol, book, given),
        withdrawal_level=withdrawal_level(protocol, book),
    )


def readiness(unit: Unit, protocol: Protocol, book: Casebook) -> Standing:
    """What the gate needs to know of a participant before somebody randomises or operates, by the forms that the site works with."""
    protocol = studies.protocol_at(unit, protocol.id, book.participant.site)
    if not protocol.schemes:
        return standing(unit, protocol, book)
    complete, failures, signed = _eligibility(unit, protocol, book)
    known = standing(unit, protocol, book)
    return replace(
        known,
        consent_refused=_refused_then(unit, protocol, book.participant, known.consent),
        eligibility_complete=complete,
        eligibility_failures=failures,
        eligibility_signed=signed,
        baseline_missing=_baseline_missing(protocol, book, protocol.scheme),
        factors_missing=_factors_missing(protocol, book, protocol.scheme),
        factors_changed=_factors_changed(unit, protocol, book),
        randomised=unit.session.get(Allocation, (protocol.id, protocol.scheme.name, book.participant.id)) is not None,
        surgery_planned=book.meaning(protocol, "surgery_planned"),
        surgeon_planned=book.meaning(protocol, "surgeon_planned"),
        surgeon_operated=book.meaning(protocol, "surgeon_operated"),
        procedure_on=_first_procedure(protocol, book),
        other_trial=str(book.meaning(protocol, "other_trial") or ""),
    )


def _refused_then(unit: Unit, protocol: Protocol, person: Participant, given: ConsentGiven | None) -> tuple[str, ...]:
    """What spoke against taking any consent at their site on the day of this one; nothing is said twice of a day that is today."""
    if given is None:
        return ()
    day = given.renewed or given.at.date()
    if day >= unit.today:
        return ()

    site = site_on(unit, person, day)

    def find() -> tuple[str, ...]:
        answer = ethics.gate(replace(gates.case(unit, protocol.id, "consent", site=site, on=day), person=None))
        return tuple(reason.message for reason in answer.reasons if reason.severity == "block")

    return remember(unit, ("consent refused", protocol.id, site, day), find)


def readiness_again(unit: Unit, protocol: Protocol, book: Casebook, scheme: Scheme) -> Standing:
    """What the gate needs to know before a later randomisation: the one before it was made, and its own answers are there."""
    protocol = studies.protocol_at(unit, protocol.id, book.participant.site)
    missing = list(_factors_missing(protocol, book, scheme))
    if scheme.ready and book.answer(protocol.form(scheme.ready.form), scheme.ready.visit, scheme.ready.item) != 1:
        missing.append(protocol.form(scheme.ready.form).by_name[scheme.ready.item].label)
    before = unit.session.get(Allocation, (protocol.id, scheme.after, book.participant.id))
    return replace(
        standing(unit, protocol, book),
        later=True,
        baseline_missing=_baseline_missing(protocol, book, scheme) + (() if before else (f"randomisation '{scheme.after}'",)),
        factors_missing=tuple(missing),
        randomised=unit.session.get(Allocation, (protocol.id, scheme.name, book.participant.id)) is not None,
    )


def consents(protocol: Protocol, book: Casebook) -> list[tuple[datetime, Stored]]:
    """Every complete consent form that says when, oldest first."""
    found = protocol.meaning("consent_at")
    if found is None:
        return []
    form, item = found
    given = [(stored.answers(form).values.get(item.name), stored) for stored in book.all_of(form.code) if stored.finished]
    return sorted(((at, stored) for at, stored in given if isinstance(at, datetime)), key=lambda one: one[0])


def consented_on(form: Form, stored: Stored) -> dict[str, int]:
    """The codes of the documents on which a consent was given."""
    said = {i.means: stored.answers(form).values.get(i.name) for i in form.items if i.means}
    codes = {"PIS": said.get("consent_pis"), "ICF": said.get("consent_icf")}
    return {kind: code for kind, code in codes.items() if isinstance(code, int)}


def _consent(unit: Unit, protocol: Protocol, book: Casebook) -> ConsentGiven | None:
    """The consent on record: the first one gives the time, the newest one the versions of the documents and the route."""
    found, given = protocol.meaning("consent_at"), consents(protocol, book)
    if found is None or not given:
        return None
    form, first, newest = found[0], given[0], given[-1]
    answers = newest[1].answers(form)
    said = {i.means: answers.values.get(i.name) for i in form.items if i.means}
    return ConsentGiven(
        first[0],
        consented_on(form, newest[1]),
        route=_code(said.get("consent_route")),
        capacity=_code(said.get("consent_capacity")),
        witnessed=_code(said.get("consent_witness")),
        consultee_on_team=_code(said.get("consent_consultee_team")),
        no_personal_consultee=str(said.get("consent_no_personal") or ""),
        recorded_on=_entered(unit, first[1]),
        renewed=newest[0].date() if newest is not first else None,
        taken_by=_taker(unit, said.get("consent_taker")),
        unknown=tuple(i.means for i in form.items if i.means and i.name in answers.missing),
    )


def _taker(unit: Unit, staff_no: Any) -> str:
    """The account of whoever took a consent, by staff number."""
    account = unit.session.scalars(select(Account).where(Account.staff_no == staff_no)).first() if isinstance(staff_no, int) else None
    return account.id if account else ""


def _entered(unit: Unit, stored: Stored) -> date:
    """The day on which a form was saved for the first time."""
    instance = stored.instance
    first = stored.saved_at if instance.seq == 1 else unit.session.get_one(FormVersion, (instance.trial_id, instance.id, 1)).saved_at
    return first.astimezone(LONDON).date()


def _code(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def capacity(unit: Unit, protocol: Protocol, book: Casebook) -> Capacity | None:
    """The newest loss of capacity on record, by a casebook that holds consents and capacity forms; None where there is none."""
    return _capacity(protocol, book, _consent(unit, protocol, book))


def _capacity(protocol: Protocol, book: Casebook, consent: ConsentGiven | None) -> Capacity | None:
    """The newest loss of capacity on record, and whether consent was given again after it was regained."""
    found = protocol.meaning("capacity_lost")
    if found is None:
        return None
    form = found[0]
    rows = [{i.means: s.answers(form).values.get(i.name) for i in form.items if i.means} for s in book.all_of(form.code)]
    lost = [(casebooks.as_day(row["capacity_lost"]), row) for row in rows]
    newest = max(((day, order, row) for order, (day, row) in enumerate(lost) if day is not None), default=None)
    if newest is None:
        return None
    regained = casebooks.as_day(newest[2].get("capacity_regained"))
    renewed = bool(regained and consent and consent.renewed and consent.renewed >= regained)
    return Capacity(newest[0], newest[2].get("capacity_plan") is not None, regained, renewed)


def _first_procedure(protocol: Protocol, book: Casebook) -> date | None:
    """The day of the baseline visit: nothing of the trial is done before it."""
    found, visit = protocol.meaning("visit_date"), protocol.scheme.baseline
    day = book.answer(found[0], visit, found[1].name) if found and visit else None
    return day if isinstance(day, date) else None


def _eligibility(unit: Unit, protocol: Protocol, book: Casebook) -> tuple[bool, tuple[str, ...], bool]:
    """Whether the form is complete, which criteria fail, and whether a doctor finished it."""
    found = protocol.meaning("eligible")
    if found is None:
        return True, (), True
    form, item = found
    stored = book.first(form.code)
    if stored is None or not stored.finished:
        return False, (), False
    answers = stored.answers(form)
    failures: tuple[str, ...] = ()
    if answers.values.get(item.name) != 1:
        failures = tuple(casebooks.failing_criteria(form, answers.values)) or (item.label,)
    sites = {book.participant.enrolled_site, *(move.site for move in transfers(unit, book.participant))}
    return True, failures, any(casebooks.saved_by_doctor(unit, protocol.id, site, stored) for site in sites)


def _baseline_missing(protocol: Protocol, book: Casebook, scheme: Scheme) -> tuple[str, ...]:
    if not scheme.baseline:
        return ()
    visit, facts = protocol.visit(scheme.baseline), book.facts(protocol)
    judged = ("consent", "eligibility")
    needed = [f for f, how in protocol.forms_at(visit) if how == "required" and f.kind not in judged and f.applies(facts)]
    return tuple(form.title for form in needed if not any(s.finished for s in book.rows(form.code, visit.code)))


def _factors_missing(protocol: Protocol, book: Casebook, scheme: Scheme) -> tuple[str, ...]:
    factors = [factor for factor in scheme.factors if factor.form]
    lacking = [f for f in factors if book.answer(protocol.form(f.form), f.visit, f.item) is None]
    return tuple(protocol.form(f.form).by_name[f.item].label for f in lacking)


def _factors_changed(unit: Unit, protocol: Protocol, book: Casebook) -> tuple[str, ...]:
    """Factors whose answer is another one than when the eligibility form was last saved."""
    found = protocol.meaning("eligible")
    confirmed = book.first(found[0].code) if found else None
    if confirmed is None:
        return ()
    changed = []
    for factor in protocol.scheme.factors:
        stored = book.get(factor.visit, factor.form, 1) if factor.form else None
        if stored is None or stored.saved_at <= confirmed.saved_at:
            continue
        then = unit.session.scalars(
            select(FormVersion.data)
            .where(
                FormVersion.trial_id == protocol.id,
                FormVersion.instance_id == stored.instance.id,
                FormVersion.saved_at <= confirmed.saved_at,
            )
            .order_by(FormVersion.seq.desc())
            .limit(1)
        ).first()
        before = json.loads(then)["answers"].get(factor.item) if then else None
        if before is not None and before != json.loads(stored.data)["answers"].get(factor.item):
            changed.append(protocol.form(factor.form).by_name[factor.item].label)
    return tuple(changed)


def levels(protocol: Protocol, book: Casebook, scheme: Scheme) -> dict[str, str]:
    """The level of every factor of a scheme, as code texts, in the order of the protocol."""
    found: dict[str, str] = {}
    for factor in scheme.factors:
        level = level_of(protocol, book, factor)
        if level not in factor.levels:
            raise Invalid(
                f"'{level}' is not a level of the factor '{factor.name}'.",
                code="ALLOC.LEVEL",
                needs="Correct the answer on the form that holds the factor.",
            )
        found[factor.name] = level
    return found


def level_of(protocol: Protocol, book: Casebook, factor: Factor) -> str:
    """The level of one factor as the casebook says it now; "None" where there is no answer."""
    if factor.name == "site":
        return book.participant.enrolled_site
    return str(book.answer(protocol.form(factor.form), factor.visit, factor.item))


def withdrawal_level(protocol: Protocol, book: Casebook) -> int:
    """0, or the highest level of withdrawal on record (`withdrawal.LEVELS`)."""
    return max((one.level for one in withdrawals(protocol, book)), default=0)


def withdrawals(protocol: Protocol, book: Casebook) -> list[Withdrawal]:
    """The changes of participation on record that are a level of withdrawal, by day; without a day, that of saving."""
    keeps = bool(protocol.param("withdrawal_keep_data", 1))
    found = [(withdrawal.level_of(code, keeps_data=keeps), on) for code, on in _changes_of_participation(protocol, book)]
    return sorted((Withdrawal(level, on) for level, on in found if level), key=lambda one: (one.on, one.level))


def _changes_of_participation(protocol: Protocol, book: Casebook) -> Iterator[tuple[int, date]]:
    """Code and day of every complete change of participation."""
    found, dated = protocol.meaning("withdrawal"), protocol.meaning("withdrawal_date")
    for stored in book.all_of(found[0].code) if found else []:
        answers = stored.answers(found[0]).values if found else {}
        code = answers.get(found[1].name) if found else None
        day = casebooks.as_day(answers.get(dated[1].name)) if dated else None
        if stored.finished and isinstance(code, int):
            yield code, day or stored.saved_at.astimezone(LONDON).date()


def ends(protocol: Protocol, book: Casebook, state: str) -> list[End]:
    """From which days on visits are no longer expected: death, a withdrawal that ends visits, loss to follow-up unless found again."""
    found = protocol.meaning("death_date")
    stored = book.first(found[0].code) if found else None
    died = casebooks.as_day(stored.answers(found[0]).values.get(found[1].name)) if found and stored else None
    changes = list(_changes_of_participation(protocol, book))
    return [
        *([End("died", died)] if died and stored and stored.finished else []),
        *(End("withdrawn", one.on) for one in withdrawals(protocol, book) if not withdrawal.LEVELS[one.level].scheduled),
        *(End("lost", on) for code, on in changes if code == withdrawal.LOST and state == "lost"),
    ]


def closing_forms(protocol: Protocol) -> set[str]:
    """Codes of the forms that say whether visits are still expected (`ends`)."""
    return {found[0].code for name in ("withdrawal", "death_date") if (found := protocol.meaning(name))}
