"""The commands about an organisation of the treatment pathway, and the guidance that is followed. Part of the command line."""

from datetime import date
from typing import Any

import click

from trialdm.domain import guidance
from trialdm.services import governance
from trialdm.services.governance import Organisation
from trialdm.services.unit import Unit
from trialdm.terminal import Terminal, day, pass_terminal

_SITE = click.option("--site", required=True, help="Code of the organisation.")
_ON = click.option("--on", required=True, callback=day, help="The day on which it happened.")
_TEXT = click.option("--text", required=True, help="In words, without names of patients.")


@click.group("organisation")
def organisation_group() -> None:
    """Governance of the treatment pathway at an organisation."""


@organisation_group.command("show")
@click.argument("trial")
@_SITE
@pass_terminal
def show(terminal: Terminal, trial: str, site: str) -> None:
    """Notices, months, reviews and what is due at an organisation, with the numbers that other commands ask for."""
    found, today = terminal.read(lambda unit: (governance.organisation(unit, trial, site), unit.today))
    said = _described(found, today)
    words = [f"{site} {found.site.name}: " + ("notice confirmed" if said["informed"] else "no confirmed notice")]
    words += [f"notice {n['number']}  {n['on']}  confirmed {n['confirmed_on'] or '-'}" for n in said["notices"]]
    words += [f"month {m['month']}  procedures {m['procedures']}  audited {m['audited']}" for m in said["months"]]
    words += [f"review {r['number']}  {r['state']}  planned {r['planned_for'] or '-'}  held {r['held_on'] or '-'}" for r in said["reviews"]]
    words += [
        f"review {r['number']} action {a['number']}  {'closed' if a['closed_on'] else 'open'}  {a['text']}"
        for r in said["reviews"]
        for a in r["actions"]
    ]
    words += [f"due {d['due']}  {d['state']:7} {d['rule']} {d['title']}" for d in said["deadlines"]]
    terminal.say(said, "\n".join(words))


def _described(found: Organisation, today: date) -> dict[str, Any]:
    return {
        "site": found.site.code,
        "informed": found.informed,
        "unaudited": found.unaudited,
        "notices": [
            {"number": n.given.entry, "on": n.given.on.isoformat(), "confirmed_on": n.seen.on.isoformat() if n.seen else None}
            for n in found.notices
        ],
        "months": [{"month": m.month, "procedures": m.procedures, "audited": m.audited} for m in found.months],
        "reviews": [
            {
                "number": r.number,
                "state": r.state,
                "planned_for": r.planned_for.isoformat() if r.planned_for else None,
                "held_on": r.held.on.isoformat() if r.held else None,
                "actions": [
                    {"number": a.number, "text": a.words, "closed_on": a.closed.on.isoformat() if a.closed else None} for a in r.actions
                ],
            }
            for r in found.reviews
        ],
        "deadlines": [
            {
                "rule": d.rule,
                "title": d.title,
                "due": d.due.isoformat(),
                "state": "met" if d.done else "overdue" if d.late(today) else "open",
            }
            for d in found.deadlines
        ],
    }


@organisation_group.command("inform")
@click.argument("trial")
@_SITE
@_ON
@_TEXT
@pass_terminal
def inform(terminal: Terminal, trial: str, site: str, on: date, text: str) -> None:
    """Record that the clinical governance lead was informed."""
    number = terminal.change(lambda unit: governance.inform(unit, trial, site, on, text))
    terminal.say({"notice": number}, f"Recorded as notice {number}. The governance lead confirms it.")


@organisation_group.command("confirm")
@click.argument("trial")
@click.argument("notice", type=int)
@_SITE
@_ON
@pass_terminal
def confirm(terminal: Terminal, trial: str, notice: int, site: str, on: date) -> None:
    """Confirm a notice, as the clinical governance lead."""
    terminal.change(lambda unit: governance.confirm(unit, trial, site, notice, on))
    terminal.say({"notice": notice, "confirmed_on": on.isoformat()}, "Confirmed: cases can be entered.")


@organisation_group.command("procedures")
@click.argument("trial")
@click.argument("month")
@click.argument("count", type=click.IntRange(0, 1000))
@_SITE
@_TEXT
@pass_terminal
def procedures(terminal: Terminal, trial: str, month: str, count: int, site: str, text: str) -> None:
    """Record how many procedures a month had by the organisation's own list; the text says which list."""
    terminal.change(lambda unit: governance.list_procedures(unit, trial, site, month, count, text))
    terminal.say({"month": month, "procedures": count}, f"Recorded: {count} procedures in {month}.")


@organisation_group.command("plan-review")
@click.argument("trial")
@_SITE
@click.option("--on", required=True, callback=day, help="The day for which it is planned.")
@pass_terminal
def plan_review(terminal: Terminal, trial: str, site: str, on: date) -> None:
    """Plan the next review of outcomes, or plan it anew."""
    number = terminal.change(lambda unit: governance.plan_review(unit, trial, site, on))
    terminal.say({"review": number, "planned_for": on.isoformat()}, f"Review {number} is planned for {on}.")


@organisation_group.command("hold-review")
@click.argument("trial")
@_SITE
@_ON
@_TEXT
@pass_terminal
def hold_review(terminal: Terminal, trial: str, site: str, on: date, text: str) -> None:
    """Record that a review was held; the text is the minutes, or says where they are kept."""
    number = terminal.change(lambda unit: governance.hold_review(unit, trial, site, on, text))
    terminal.say({"review": number, "held_on": on.isoformat()}, f"Review {number} was held on {on}.")


@organisation_group.command("agree-action")
@click.argument("trial")
@click.argument("review", type=int)
@_SITE
@_TEXT
@pass_terminal
def agree_action(terminal: Terminal, trial: str, review: int, site: str, text: str) -> None:
    """Record an action that a review agreed on."""
    number = terminal.change(lambda unit: governance.agree_action(unit, trial, site, review, text))
    terminal.say({"review": review, "action": number}, f"Recorded as action {number} of review {review}.")


@organisation_group.command("close-action")
@click.argument("trial")
@click.argument("review", type=int)
@click.argument("action", type=int)
@_SITE
@_TEXT
@pass_terminal
def close_action(terminal: Terminal, trial: str, review: int, action: int, site: str, text: str) -> None:
    """Record how an action ended."""
    terminal.change(lambda unit: governance.close_action(unit, trial, site, review, action, text))
    terminal.say({"review": review, "action": action, "closed": True}, "Closed.")


@organisation_group.command("appraise")
@click.argument("trial")
@click.argument("operator", type=int)
@_SITE
@_ON
@_TEXT
@pass_terminal
def appraise(terminal: Terminal, trial: str, operator: int, site: str, on: date, text: str) -> None:
    """Record that an operator discussed outcomes at the annual appraisal."""
    terminal.change(lambda unit: governance.appraise(unit, trial, site, operator, on, text))
    terminal.say({"operator": operator, "on": on.isoformat()}, "Recorded.")


@click.group("guidance")
def guidance_group() -> None:
    """The guidance that a study of the treatment pathway follows."""


@guidance_group.command("follow")
@click.argument("trial")
@click.argument("version", type=click.Choice(tuple(guidance.VERSIONS)))
@click.option("--on", callback=day, help="From this day on; today where left out.")
@_TEXT
@pass_terminal
def follow(terminal: Terminal, trial: str, version: str, on: date | None, text: str) -> None:
    """Follow another version of the guidance; the text says why it changes."""

    def work(unit: Unit) -> date:
        first = on or unit.today
        governance.follow(unit, trial, version, first, text)
        return first

    first = terminal.change(work)
    terminal.say({"version": version, "from": first.isoformat()}, f"{version} is followed from {first} on.")
