"""The command `rehearse`: the scheme as it is configured on simulated trials. Part of the command line."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from trialdm.domain import errors
from trialdm.rehearsal import report
from trialdm.rehearsal.simulate import Rehearsal, sha256
from trialdm.services import rehearsals
from trialdm.services.rehearsals import Asked
from trialdm.terminal import PATH, Terminal, pass_terminal, text_of


@click.command()
@click.argument("trial")
@click.option("--trials", default=1000, show_default=True, help="Simulated trials.")
@click.option("--participants", type=int, help="Participants of each; the trial's target where left out.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same figures.")
@click.option("--scheme", default="", help="Scheme; the trial's first one where left out.")
@click.option("--assume", type=PATH, help="YAML or JSON: shares of sites and factor levels, places of a list.")
@click.option("--against", type=PATH, multiple=True, help="YAML or JSON: another method with its parameters, or a list of them.")
@click.option("--out", type=PATH, help="HTML report to write.")
@pass_terminal
def rehearse(
    terminal: Terminal,
    trial: str,
    trials: int,
    participants: int | None,
    seed: int,
    scheme: str,
    assume: Path | None,
    against: tuple[Path, ...],
    out: Path | None,
) -> None:
    """Simulate trials with the scheme as it is configured: balance, how often the next arm is guessed, lists that run out."""
    others = tuple((path.name, text_of(path)) for path in against)
    assumed = (assume.name, text_of(assume)) if assume else None
    asked = Asked(trials, participants, seed, scheme, against=others, assume=assumed)
    plan = terminal.read(lambda unit: rehearsals.plan(unit, trial, asked))
    made = rehearsals.run(plan, _tell if sys.stderr.isatty() else None)
    terminal.change(lambda unit: rehearsals.record(unit, trial, plan, made))
    if out:
        _write(out, report.document(made, title=f"Rehearsal of the allocation of {trial}", signatures=_SIGNATURES))
    found = {"trial": trial, "schemes": [dict(rehearsal.data) for rehearsal in made], "sha256": sha256(made)}
    terminal.say(found, "\n".join([*_table(made), *([f"Report: {out}"] if out else [])]))


_SIGNATURES = ("Prepared by (name, date, signature):", "Reviewed by (name, date, signature):")


def _tell(done: int, total: int) -> None:
    click.echo(f"\r{done:,} of {total:,} simulated trials ..", err=True, nl=done == total)


def _table(made: Sequence[Rehearsal]) -> list[str]:
    """Measures by scheme; each scheme has a letter."""
    data, letters = made[0].data, [chr(ord("A") + i) for i in range(len(made))]
    rows = [("", letters), *rehearsals.in_short(made)]
    return [
        f"{data['trials']:,} simulated trials of {data['participants']:,} participants each, seed {data['seed']}.",
        *(f"{letter}: {rehearsal.name}" for letter, rehearsal in zip(letters, made, strict=True)),
        "",
        *(f"{words:40}{''.join(f'{cell:>10}' for cell in cells)}" for words, cells in rows),
        "",
        f"SHA-256: {sha256(made)}",
    ]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as problem:
        raise errors.Invalid(f"{path} cannot be written: {problem.strerror}.", code="FILE.UNWRITABLE") from None
