"""What is written about trialdm agrees with what it is."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from tests.builders import ROOT
from trialdm.cli import main
from trialdm.definitions import editor
from trialdm.store.tables import APPEND_ONLY, MESSAGES, Table

HELP = ROOT / "trialdm" / "web" / "templates" / "help"
DECISIONS = ROOT / "trialdm" / "web" / "help" / "decisions"


@pytest.mark.parametrize("name", editor.FILES)
def test_the_editors_schemas_are_those_of_the_definition(name: str) -> None:
    """Stale? Run: trialdm protocol schema protocols/schema"""
    assert (ROOT / "protocols" / "schema" / name).read_text("utf-8") == editor.text(editor.FILES[name])


def test_the_readme_gives_exactly_two_commands_and_its_picture_exists() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^```sh (\w+)$", text, re.M) == ["demo", "test"]
    for image in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (ROOT / image).is_file()
    for link in re.findall(r"(?<!!)\[.*?\]\(((?!http).*?)\)", text):
        assert (ROOT / link).exists(), link


def test_the_house_in_contributing_names_rooms_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for room in re.findall(r"`(trialdm/[\w/.]+|tests[\w/.]*|protocols/[\w/.-]+)`", text):
        assert (ROOT / room).exists(), room
    for file in re.findall(r"`((?:web|door|services|domain|exports|store|definitions)/\w+\.py)`", text):
        assert (ROOT / "trialdm" / file).is_file(), file


def test_every_command_says_what_it_does() -> None:
    def walk(group: click.Group, path: str) -> None:
        for name, command in group.commands.items():
            assert command.help or isinstance(command, click.Group), f"{path} {name}"
            if isinstance(command, click.Group):
                walk(command, f"{path} {name}")

    walk(main, "trialdm")


def test_every_command_and_every_family_of_error_codes_stands_in_the_guide() -> None:
    def paths(group: click.Group, path: str = "") -> list[str]:
        found = []
        for name, command in group.commands.items():
            found += paths(command, f"{path}{name} ") if isinstance(command, click.Group) else [f"{path}{name}"]
        return found

    commands = (HELP / "commands.html").read_text("utf-8")
    assert [path for path in paths(main) if not re.search(rf"\('{path}[ ']", commands)] == []
    sources = [path.read_text("utf-8") for path in (ROOT / "trialdm").rglob("*.py")]
    used = {family for text in sources for family in re.findall(r'code=f?"([A-Z]+)\.', text)}
    listed = set(re.findall(r"[A-Z]+", " ".join(re.findall(r"^\('([A-Z, ]+)',", (HELP / "errors.html").read_text("utf-8"), re.M))))
    assert used - listed == set()


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in DECISIONS.glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_message_belongs_to_a_constraint_that_exists() -> None:
    names = {c.name for table in Table.metadata.tables.values() for c in table.constraints} | {
        f"pk_{name}" for name in Table.metadata.tables
    }
    assert set(MESSAGES) <= names
    assert set(APPEND_ONLY) <= set(Table.metadata.tables)


def test_every_dependency_of_the_code_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert all(re.match(r"^[a-z0-9-]+>=", line) for line in declared)


def test_the_directions_between_rooms_hold() -> None:
    found = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
