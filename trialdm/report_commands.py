"""The commands for worklists and reports. Part of the command line."""

from typing import Any

import click

from trialdm.domain.screening import OUTCOMES
from trialdm.services import reconsents, screening
from trialdm.services.unit import Unit
from trialdm.terminal import Terminal, pass_terminal

_SITE = click.option("--site", default="", help="One site; all that the account sees where left out.")


# --- worklists -------------------------------------------------------------------------------------------------------


@click.command("reconsent")
@click.argument("trial")
@_SITE
@pass_terminal
def reconsent(terminal: Terminal, trial: str, site: str) -> None:
    """Who has to consent again, why, since when and how urgently; and who did."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        return [line.to_json() for line in reconsents.listed(unit, trial, site)]

    rows = terminal.read(work)
    words = (
        f"{r['participant']}  {r['site']}  {'done ' + r['done'] if r['done'] else r['urgency']:<15}  "
        f"{r['from'] or 'no version'} -> {r['to']} since {r['since']}  {r['modification'] or ''}".rstrip()
        for r in rows
    )
    terminal.say(rows, "\n".join(words) or "Nobody has to consent again.")


@click.command("screening")
@click.argument("trial")
@_SITE
@click.option("--outcome", default="", type=click.Choice(("", *OUTCOMES)), help="One outcome.")
@pass_terminal
def screening_log(terminal: Terminal, trial: str, site: str, outcome: str) -> None:
    """The screening log: number, day, outcome and coded reasons of everybody who was considered."""
    found = terminal.read(lambda unit: screening.log(unit, trial, site=site, came=outcome))
    words = (f"{e.number}  {e.screened_on or '-':<10}  {OUTCOMES[e.outcome]:<26}  {'; '.join(e.reasons.values())}".rstrip() for e in found)
    terminal.say([e.to_json() for e in found], "\n".join(words) or "No entry.")
