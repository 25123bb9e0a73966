"""The commands for queries and for the run of all edit checks. Part of the command line."""

from typing import Any

import click

from trialdm.domain import query
from trialdm.services import checks, places, queries
from trialdm.services.queries import Wanted
from trialdm.services.unit import Unit
from trialdm.terminal import Terminal, pass_terminal

_TEXT = click.option("--text", default="", help="In words.")


@click.group("query")
def query_group() -> None:
    """Questions about answers, and what the sites say."""


@query_group.command("list")
@click.argument("trial")
@click.option("--state", default="", help="A state, or waiting (for an answer), or unsettled.")
@click.option("--site", default="", help="One site.")
@click.option("--form", default="", help="One form.")
@click.option("--origin", default="", type=click.Choice(("", *query.ORIGINS)), help="Who asked.")
@click.option("--age", "band", default="", type=click.Choice(("", *query.BANDS)), help="Days since it was asked.")
@click.option("--participant", default="", help="One participant.")
@pass_terminal
def listing(terminal: Terminal, trial: str, **wanted: str) -> None:
    """The queries that the account may see, by number."""
    found = terminal.read(lambda unit: queries.listed(unit, trial, Wanted(**wanted)))
    words = (f"{q.number:<6} {q.state:<10} {q.age:>4} d  {q.site}  {q.participant}  {q.place}: {q.text}" for q in found)
    terminal.say([line.to_json() for line in found], "\n".join(words) or "No query.")


@query_group.command("open")
@click.argument("trial")
@click.argument("participant")
@click.argument("visit")
@click.argument("form")
@click.option("--item", default="", help="The item; the form as a whole where left out.")
@click.option("--row", default=1, help="The row of a repeating form.")
@click.option("--text", required=True, help="What is asked.")
@pass_terminal
def ask(terminal: Terminal, trial: str, participant: str, visit: str, form: str, item: str, row: int, text: str) -> None:
    """Ask about an answer, or about a form, saved or not."""

    def work(unit: Unit) -> dict[str, Any]:
        place = places.locate(unit, trial, participant, visit, form, row)
        return queries.one(unit, trial, queries.ask(unit, place, item, text).id).to_json()

    found = terminal.change(work)
    terminal.say(found, f"Query {found['number']} was opened.")


@query_group.command("answer")
@click.argument("trial")
@click.argument("number")
@click.option("--response", required=True, type=click.Choice(tuple(query.RESPONSES)), help="What the answer says about the data.")
@_TEXT
@pass_terminal
def answer(terminal: Terminal, trial: str, number: str, response: str, text: str) -> None:
    """Answer a query: the data were corrected, are confirmed, or cannot be obtained."""
    _done(terminal, trial, number, lambda unit: queries.answer(unit, trial, number, response, text))


@query_group.command("close")
@click.argument("trial")
@click.argument("number")
@_TEXT
@pass_terminal
def close(terminal: Terminal, trial: str, number: str, text: str) -> None:
    """Close a query that was answered; never by who answered it."""
    _done(terminal, trial, number, lambda unit: queries.close(unit, trial, number, text))


@query_group.command("reopen")
@click.argument("trial")
@click.argument("number")
@click.option("--text", required=True, help="What is still asked.")
@pass_terminal
def reopen(terminal: Terminal, trial: str, number: str, text: str) -> None:
    """Ask again."""
    _done(terminal, trial, number, lambda unit: queries.reopen(unit, trial, number, text))


@query_group.command("cancel")
@click.argument("trial")
@click.argument("number")
@click.option("--text", required=True, help="Why it is taken back.")
@pass_terminal
def cancel(terminal: Terminal, trial: str, number: str, text: str) -> None:
    """Take a query back."""
    _done(terminal, trial, number, lambda unit: queries.cancel(unit, trial, number, text))


def _done(terminal: Terminal, trial: str, number: str, act: Any) -> None:
    """Do an act and say how the query stands."""

    def work(unit: Unit) -> dict[str, Any]:
        act(unit)
        return queries.one(unit, trial, number).to_json()

    found = terminal.change(work)
    terminal.say(found, f"Query {found['number']} is {found['state']}.")


# --- edit checks -----------------------------------------------------------------------------------------------------


@click.group("checks")
def checks_group() -> None:
    """The edit checks of the protocol."""


@checks_group.command("run")
@click.argument("trial")
@click.option("--site", default="", help="One site.")
@click.option("--form", default="", help="One form.")
@click.option("--alerts", is_flag=True, help="Ask about alerts too; they are only counted otherwise.")
@click.option("--dry-run", is_flag=True, help="Say what would be asked, and write nothing.")
@pass_terminal
def run(terminal: Terminal, trial: str, site: str, form: str, alerts: bool, dry_run: bool) -> None:
    """Run all edit checks over the saved forms: what nobody confirmed becomes a query, once."""

    def work(unit: Unit) -> checks.Outcome:
        return checks.run(unit, trial, site=site, form=form, alerts=alerts, dry=dry_run)

    done = terminal.read(work) if dry_run else terminal.change(work)
    lines = [
        f"{t.form:<8} {t.check:<28} {t.item:<20} found {t.found:>5}, new {t.asks:>5}, asked before {t.standing:>5}" for t in done.lines()
    ]
    would = "would be " if dry_run else ""
    lines.append(f"{done.forms} forms read. Queries {would}opened: {done.opened}; {would}closed: {done.closed}.")
    terminal.say(done.to_json(), "\n".join(lines))
