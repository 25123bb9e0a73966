"""The commands for dictionaries of event terms. Part of the command line."""

from pathlib import Path

import click

from trialdm.services import dictionaries
from trialdm.terminal import Terminal, pass_terminal

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("dictionary")
def dictionary_group() -> None:
    """Terms by which adverse events are coded."""


@dictionary_group.command("load")
@click.argument("trial")
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="Name of the dictionary, such as MedDRA.")
@click.option("--version", required=True, help="Its version.")
@pass_terminal
def load(terminal: Terminal, trial: str, file: Path, name: str, version: str) -> None:
    """Load a dictionary that you hold under a licence: llt.asc or pt.asc, or a CSV with the columns code, term and up."""
    text = file.read_text("utf-8-sig")
    count = terminal.change(lambda unit: dictionaries.load(unit, trial, file.name, text, name=name, version=version))
    terminal.say({"trial": trial, "dictionary": name, "version": version, "new": count}, f"{count} new terms of {name} {version}.")


@dictionary_group.command("list")
@click.argument("trial")
@pass_terminal
def listing(terminal: Terminal, trial: str) -> None:
    """The dictionaries by which events are coded."""
    found = terminal.read(lambda unit: dictionaries.listed(unit, trial))
    words = (f"{one.name:<20} {one.version:<8} {one.terms:>7} terms" for one in found)
    terminal.say([vars(one) for one in found], "\n".join(words) or "No dictionary.")
