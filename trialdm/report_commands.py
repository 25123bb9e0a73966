"""The commands for worklists and reports. Part of the command line."""

from pathlib import Path
from typing import Any

import click

from trialdm.domain.schedule import STANDINGS
from trialdm.domain.screening import OUTCOMES
from trialdm.services import reconsents, screening, visits
from trialdm.services.unit import Unit
from trialdm.terminal import PATH, Terminal, pass_terminal, write_text

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


@click.command("visits")
@click.argument("trial")
@_SITE
@click.option("--standing", default="", type=click.Choice(("", *STANDINGS)), help="One standing only, such as overdue.")
@click.option("--calendar", "out", type=PATH, help="Write the expected visits as a calendar file (.ics) instead.")
@pass_terminal
def scheduled(terminal: Terminal, trial: str, site: str, standing: str, out: Path | None) -> None:
    """The scheduled visits by target day: window, and where each stands."""
    if out is not None:
        write_text(out, terminal.read(lambda unit: visits.feed(unit, trial, site=site)))
        terminal.say({"file": str(out)}, f"Wrote {out}.")
        return
    wanted = [standing] if standing else list(STANDINGS)
    found = terminal.read(lambda unit: visits.listed(unit, trial, site=site, standings=wanted))
    words = (
        f"{one.window.target}  {one.participant}  {one.site}  {one.visit}  {STANDINGS[one.standing]:<18}  "
        f"{one.window.opens} to {one.window.closes}  {one.label}"
        for one in found
    )
    terminal.say([one.to_json() for one in found], "\n".join(words) or "No visit.")


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
