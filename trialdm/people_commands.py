"""The commands about people: the delegation log, who could do what, training and credentials. Part of the command line."""

from datetime import date
from pathlib import Path
from typing import Any

import click

from trialdm.domain import ethics, roles
from trialdm.services import delegations, people
from trialdm.services.unit import Unit
from trialdm.terminal import PATH, Terminal, bytes_of, day, pass_terminal

_ON = click.option("--on", callback=day, help="A day; today where left out.")


# --- the delegation log ----------------------------------------------------------------------------------------------


@click.group("delegation")
def delegation_group() -> None:
    """The delegation log."""


@delegation_group.command("list")
@click.argument("trial")
@click.option("--site", default="", help="One site.")
@_ON
@pass_terminal
def delegation_list(terminal: Terminal, trial: str, site: str, on: date | None) -> None:
    """Lines of the log as they stood on a day, with their identifiers."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        return [line.to_json(on or unit.today) for line in delegations.log(unit, trial, on, site)]

    rows = terminal.read(work)
    words = (
        f"{r['id']}  {r['site'] or '-':4} {r['name']:28} {r['from']} {r['to'] or '':10} "
        f"{delegations.STATES[r['state']]}: {', '.join(r['tasks'])}"
        for r in rows
    )
    terminal.say(rows, "\n".join(words) or "No line.")


@delegation_group.command("propose")
@click.argument("trial")
@click.argument("email")
@click.option("--task", "tasks", multiple=True, required=True, type=click.Choice(tuple(roles.TASKS)), help="May be given several times.")
@click.option("--site", default="", help="Site; the whole trial where left out.")
@click.option("--from", "start", callback=day, help="First day; today where left out.")
@click.option("--to", "end", callback=day, help="Last day.")
@pass_terminal
def delegation_propose(
    terminal: Terminal, trial: str, email: str, tasks: tuple[str, ...], site: str, start: date | None, end: date | None
) -> None:
    """Propose a line for somebody: it waits for their signature, then for the countersignature."""

    def work(unit: Unit) -> str:
        account = people.by_email(unit, email)
        return delegations.propose(unit, trial, account, tasks=tasks, start=start or unit.today, end=end, site=site)

    line = terminal.change(work)
    terminal.say({"id": line, "state": "signature"}, f"Proposed line {line}. It waits for the signature of {email}.")


@delegation_group.command("sign")
@click.argument("trial")
@click.argument("line")
@pass_terminal
def delegation_sign(terminal: Terminal, trial: str, line: str) -> None:
    """Sign one's own line."""
    terminal.change(lambda unit: delegations.sign(unit, trial, line))
    terminal.say({"id": line, "state": "countersignature"}, "Signed. The line waits for the countersignature.")


@delegation_group.command("countersign")
@click.argument("trial")
@click.argument("line")
@pass_terminal
def delegation_countersign(terminal: Terminal, trial: str, line: str) -> None:
    """Countersign a line that its person has signed."""
    warnings = terminal.change(lambda unit: delegations.countersign(unit, trial, line))
    terminal.say({"id": line, "warnings": list(warnings)}, "\n".join(["Countersigned.", *warnings]))


@delegation_group.command("decline")
@click.argument("trial")
@click.argument("line")
@click.option("--reason", required=True, help="Why it is not signed.")
@pass_terminal
def delegation_decline(terminal: Terminal, trial: str, line: str, reason: str) -> None:
    """Refuse to sign or to countersign a line that waits."""
    terminal.change(lambda unit: delegations.decline(unit, trial, line, reason))
    terminal.say({"id": line, "state": "declined"}, "Declined.")


@delegation_group.command("end")
@click.argument("trial")
@click.argument("line")
@click.option("--on", callback=day, help="The first day on which it counts no more; today where left out.")
@click.option("--reason", default="", help="Why it ends.")
@pass_terminal
def delegation_end(terminal: Terminal, trial: str, line: str, on: date | None, reason: str) -> None:
    """End a line from a day on: the right ends in the same moment."""
    ended = terminal.change(lambda unit: delegations.end(unit, trial, line, on, reason))
    act = ended.act("end")
    since = act.day.isoformat() if act else ""
    terminal.say({"id": line, "ends": since}, f"The line counts no more from {since} on.")


@click.command("who")
@click.argument("trial")
@click.argument("task", type=click.Choice(tuple(roles.TASKS)))
@click.option("--site", required=True, help="The site.")
@_ON
@pass_terminal
def who(terminal: Terminal, trial: str, task: str, site: str, on: date | None) -> None:
    """Who could do a task at a site on a day, and whom only training or a credential kept from it."""
    rows = terminal.read(lambda unit: [able.to_json() for able in delegations.who_could(unit, trial, task, site, on)])
    words = (f"{'yes' if r['allowed'] else 'no ':3}  {r['name']:28} {r['person']}  {' '.join(r['why'])}".rstrip() for r in rows)
    terminal.say(rows, "\n".join(words) or "Nobody.")


# --- training and credentials ----------------------------------------------------------------------------------------


@click.group("training")
def training_group() -> None:
    """Training."""


@training_group.command("add")
@click.argument("trial")
@click.argument("email")
@click.option("--kind", required=True, type=click.Choice(tuple(ethics.TRAININGS)))
@click.option("--on", required=True, callback=day, help="Day of the training.")
@click.option("--to", "valid_to", callback=day, help="Last day on the certificate, where it names one.")
@click.option("--certificate", type=PATH, help="The certificate, to be kept.")
@pass_terminal
def training_add(terminal: Terminal, trial: str, email: str, kind: str, on: date, valid_to: date | None, certificate: Path | None) -> None:
    """Record a training of somebody else."""
    kept = (certificate.name, bytes_of(certificate)) if certificate else None

    def work(unit: Unit) -> None:
        delegations.train(unit, trial, people.by_email(unit, email), kind=kind, on=on, valid_to=valid_to, certificate=kept)

    terminal.change(work)
    terminal.say({"person": email, "kind": kind, "on": on.isoformat()}, f"Recorded: {email} was trained in {ethics.TRAININGS[kind]}.")


@training_group.command("expiring")
@click.argument("trial")
@click.option("--days", default=delegations.SOON, show_default=True, type=click.IntRange(0, 3660))
@_ON
@pass_terminal
def training_expiring(terminal: Terminal, trial: str, days: int, on: date | None) -> None:
    """Training, credentials and lines that run out, and tasks for which a site has nobody."""
    rows = terminal.read(lambda unit: [entry.to_json() for entry in delegations.expiring(unit, trial, on, days)])
    words = (f"{r['ends']}  {r['site'] or '-':4} {r['kind']:10} {r['name']:28} {r['what']}" for r in rows)
    terminal.say(rows, "\n".join(words) or "Nothing runs out.")


@click.group("credential")
def credential_group() -> None:
    """Surgeons' credentials."""


@credential_group.command("add")
@click.argument("trial")
@click.argument("email")
@click.option("--site", required=True, help="The site.")
@click.option("--cases", required=True, type=click.IntRange(0, 10_000), help="Supervised cases so far.")
@click.option("--from", "valid_from", required=True, callback=day, help="First day.")
@click.option("--to", "valid_to", callback=day, help="Last day.")
@click.option("--surgeon", type=click.IntRange(1, 10_000), help="Number in forms; the surgeon's own or the next free one where left out.")
@pass_terminal
def credential_add(
    terminal: Terminal, trial: str, email: str, site: str, cases: int, valid_from: date, valid_to: date | None, surgeon: int | None
) -> None:
    """Record a surgeon's credential for TMR, or its newer count of cases."""

    def work(unit: Unit) -> int:
        account = people.by_email(unit, email)
        given = {"site": site, "valid_from": valid_from, "valid_to": valid_to, "cases": cases}
        return delegations.credential(unit, trial, account, surgeon=surgeon, **given)

    number = terminal.change(work)
    terminal.say({"person": email, "surgeon": number, "cases": cases}, f"Recorded: surgeon {number}, {cases} cases.")
