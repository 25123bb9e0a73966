"""The commands for worklists, reports and derived items. Part of the command line."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from trialdm.documents.tables import as_csv
from trialdm.domain.schedule import STANDINGS
from trialdm.domain.screening import OUTCOMES
from trialdm.services import derivations, double_entry, reconsents, screening, visits
from trialdm.services.unit import Unit
from trialdm.terminal import PATH, Terminal, moment, pass_terminal, write_text

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


@click.command("double-entry")
@click.argument("trial")
@_SITE
@pass_terminal
def entered_twice(terminal: Terminal, trial: str, site: str) -> None:
    """Forms that wait for a second entry, or for a third person who settles what two entries differ in."""
    found = terminal.read(lambda unit: double_entry.listed(unit, trial, site=site))
    words = (
        f"{one.since}  {one.participant}  {one.site}  {one.visit} {one.form} {one.row}  {double_entry.STEPS[one.next]}"
        f"{f' ({one.differ})' if one.differ else ''}, entered by {' and '.join(one.entered_by)}"
        for one in found
    )
    terminal.say([one.to_json() for one in found], "\n".join(words) or "Nothing waits.")


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


# --- derived items ---------------------------------------------------------------------------------------------------


@click.command("derived")
@click.argument("trial")
@click.option("--participant", default="", help="One participant, with the forms that each value was read from; everybody where left out.")
@click.option("--per", default="participant", type=click.Choice(tuple(derivations.KEYS)), help="A row for each participant, or visit.")
@click.option(
    "--restricted", is_flag=True, help="The restricted items too, for whoever reads allocations; that they were read is recorded."
)
@click.option("--as-of", callback=moment, help="Of everybody as of this moment; the last change where left out.")
@click.option("--out", type=PATH, help="Write the rows as a CSV file.")
@pass_terminal
def derived_items(
    terminal: Terminal, trial: str, participant: str, per: str, restricted: bool, as_of: datetime | None, out: Path | None
) -> None:
    """What the protocol derives over the whole casebook: of one participant, or of everybody with counts."""
    if participant and (as_of or out):
        raise click.UsageError("--as-of and --out belong to everybody: leave --participant out")
    run = terminal.change if restricted else terminal.read
    if participant:
        ask_one = derivations.of_person_restricted if restricted else derivations.of_person
        one = run(lambda unit: ask_one(unit, trial, participant)).to_json()
        rows = [("", line) for line in one["values"]] + [(visit, line) for visit, lines in one["visits"].items() for line in lines]
        terminal.say(one, "\n".join(f"{visit:<5}{line['name']:<18}{_said(line['value']):<12}{line['label']}" for visit, line in rows))
        return
    ask_all = derivations.of_trial_restricted if restricted else derivations.of_trial
    found = run(lambda unit: ask_all(unit, trial, as_of))
    if out is not None:
        write_text(out, as_csv(found.table(per), found.columns(per)))
        terminal.say({"file": str(out)}, f"Wrote {out}.")
        return
    items = [tally.to_json() for tally in found.tallies() if tally.derivation.per == per]
    words = (f"{item['name']:<18}{item['known']:>6} known{item['missing']:>6} missing  {item['label']}" for item in items)
    terminal.say({"as_of": found.as_of.isoformat(), "items": items, "rows": found.table(per)}, "\n".join(words))


def _said(value: Any) -> str:
    return "-" if value is None else str(value)
