"""Who may assess a participant: somebody of the site who enters outcomes and neither knows nor can know the allocation."""

from trialdm.domain import roles
from trialdm.domain.protocol import Protocol
from trialdm.services import disclosures, people, register
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit, remember

#: The register that gives these people as the choices of an item.
REGISTER = "assessors"


def operated(unit: Unit, protocol: Protocol, book: Casebook) -> frozenset[str]:
    """Accounts of those who are named as a surgeon of the participant's operation: whoever operated assesses nothing."""
    operative = [form for form in protocol.forms if form.kind == "operative"]
    asked = [(form, item.name) for form in operative for item in form.items if item.source == "surgeons"]
    named = {stored.answers(form).values.get(item) for form, item in asked for stored in book.all_of(form.code)}
    return frozenset(c.person for c in register.read(unit, protocol.id).credentials if c.surgeon in named)


def able(unit: Unit, protocol: Protocol, book: Casebook) -> dict[int, str]:
    """Number and name of everybody who may assess this participant now."""
    trial, person = protocol.id, book.participant
    barred = operated(unit, protocol, book) | {row.account_id for row in disclosures.of(unit, trial, person.id) if row.kind != "drill"}
    everybody = remember(unit, ("everybody",), lambda: people.everybody(unit))
    return {
        account.staff_no: account.name
        for account, grants in everybody
        if account.id not in barred
        and roles.may_enter(grants, "outcome", trial, person.site)
        and not roles.sees_allocations(grants, trial, person.site)
    }
