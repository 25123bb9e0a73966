"""The command that writes the validation pack. Part of the command line; needs no instance."""

import platform
import sqlite3
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import click

import trialdm
from trialdm.documents import page, validation
from trialdm.store import migrate
from trialdm.terminal import PATH, Terminal, bytes_of, pass_terminal, write_bytes

_DOCUMENTS = (".html", ".htm", ".pdf")

#: Packages on which records, signatures and exports stand.
_PACKAGES = ("sqlalchemy", "flask", "cryptography", "argon2-cffi", "pyreadstat", "polars", "psycopg")


def _document_file(_context: click.Context, _option: click.Parameter, out: Path) -> Path:
    if out.suffix.lower() not in _DOCUMENTS:
        raise click.BadParameter(f"'{out}' must end in .html, .htm or .pdf: nothing else is written")
    return out


@click.command("validation")
@click.option("--out", required=True, type=PATH, callback=_document_file, help="File to write: .html or .pdf.")
@click.option("--results", type=PATH, help="What 'pytest --junitxml=FILE' wrote; without it nothing counts as shown.")
@click.option("--commit", default="", help="The commit of the source that was tested.")
@pass_terminal
def pack(terminal: Terminal, out: Path, results: Path | None, commit: str) -> None:
    """Write the validation pack: requirements, the tests that show them with their results, gaps, duties, room for signatures."""
    found = validation.read(bytes_of(results)) if results else None
    text = page.html(validation.pack(_about(commit), found))
    write_bytes(out, page.pdf(text) if out.suffix.lower() == ".pdf" else text.encode())
    counts = validation.tally([one for source in validation.sources() for one in source.requirements], found)
    words = ", ".join(f"{word.lower()}: {count}" for word, count in counts.items() if count)
    terminal.say({"file": str(out), "requirements": counts}, f"Wrote {out}. Of {sum(counts.values())} requirements, {words}.")


def _about(commit: str) -> list[tuple[str, str]]:
    """What was tested, and on which machine this was written: versions are those of its own installation."""
    there = (f"{name} {version}" for name in _PACKAGES if (version := _version(name)))
    return [
        ("Program", f"trialdm {trialdm.__version__}, tables at {migrate.newest()}"),
        ("Commit of the source", commit or "not given"),
        ("Written on", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("Written with", f"Python {platform.python_version()} on {platform.system()}, SQLite {sqlite3.sqlite_version}, {', '.join(there)}"),
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
