"""Who of the people on record may be named on a form about one participant."""

from collections.abc import Callable, Mapping

from trialdm.domain import roles
from trialdm.domain.protocol import Protocol
from trialdm.services import disclosures, people, register
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit, remember
from trialdm.store.tables import Account


def operated(unit: Unit, protocol: Protocol, book: Casebook) -> frozenset[str]:
    """Accounts of those who are named as a surgeon of the participant's operation: whoever operated assesses nothing."""
    operative = [form for form in protocol.forms if form.kind == "operative"]
    asked = [(form, item.name) for form in operative for item in form.items if item.source == "surgeons"]
    named = {stored.answers(form).values.get(item) for form, item in asked for stored in book.all_of(form.code)}
    return frozenset(c.person for c in register.read(unit, protocol.id).credentials if c.surgeon in named)


def assessors(unit: Unit, protocol: Protocol, book: Casebook) -> dict[int, str]:
    """Number and name of everybody of the site who enters outcomes and neither knows nor can know this participant's allocation."""
    trial, person = protocol.id, book.participant
    barred = operated(unit, protocol, book) | {row.account_id for row in disclosures.of(unit, trial, person.id) if row.kind != "drill"}
    return {
        account.staff_no: account.name
        for account, grants in _everybody(unit)
        if account.id not in barred
        and roles.may_enter(grants, "outcome", trial, person.site)
        and not roles.sees_allocations(grants, trial, person.site)
    }


def of_site(unit: Unit, protocol: Protocol, book: Casebook) -> dict[int, str]:
    """Number and name of everybody with a role at the participant's site, or with a line of its delegation log at any time."""
    trial, site = protocol.id, book.participant.site
    on_the_log = {line.person for line in register.read(unit, trial).delegations if line.site == site}
    return {
        account.staff_no: account.name
        for account, grants in _everybody(unit)
        if account.id in on_the_log or any(grant.site == site and grant.covers(trial, site) for grant in grants)
    }


def _everybody(unit: Unit) -> list[tuple[Account, tuple[roles.Grant, ...]]]:
    return remember(unit, ("everybody",), lambda: people.everybody(unit))


#: Registers of people that are narrower for one participant than for the trial.
NARROWER: Mapping[str, Callable[[Unit, Protocol, Casebook], dict[int, str]]] = {"assessors": assessors, "site-staff": of_site}
