"""Lists at the door: files have a header without rows, and a number that is nobody's leaves the list standing."""

import csv

import pytest

from tests import builders
from tests.api.test_concealment import browser
from tests.builders import TRIAL, World

HOME = f"/trials/{TRIAL}"

#: Lists as files, and who reads them.
FILES = [
    ("visits.csv", "research-nurse"),
    ("queries.csv", "data-manager"),
    ("double-entry.csv", "data-manager"),
    ("monitoring/forms.csv", "data-manager"),
    ("safety/RP-05.csv", "sponsor"),
    ("safety/events.csv", "sponsor"),
]


@pytest.mark.parametrize(("file", "role"), FILES)
def test_an_empty_list_is_a_file_with_a_header(sqlite_world: World, file: str, role: str) -> None:
    (header, *rows) = csv.reader(browser(sqlite_world, role).get(f"{HOME}/{file}").get_data(as_text=True).splitlines())
    assert "participant" in header
    assert rows == []


def test_a_full_list_has_the_same_header(sqlite_world: World) -> None:
    nurse = browser(sqlite_world, "research-nurse")
    empty = nurse.get(f"{HOME}/visits.csv").get_data(as_text=True)
    builders.randomised(sqlite_world)
    assert nurse.get(f"{HOME}/visits.csv").get_data(as_text=True).startswith(empty)


@pytest.mark.parametrize("typed", ["7", "4K7P-2M9C-XX", "name"])
def test_what_is_nobodys_number_is_said_above_the_list(sqlite_world: World, typed: str) -> None:
    ident = builders.consented(sqlite_world)
    nurse = browser(sqlite_world, "research-nurse")
    answer = nurse.get(f"{HOME}/participants?find={typed}")
    page = answer.get_data(as_text=True)
    assert 400 <= answer.status_code < 500
    assert "There is a problem" in page
    assert f'value="{typed}"' in page
    assert ident in page, "the list stays"
    assert nurse.get(f"{HOME}/participants?find={ident.lower()}").location.endswith(ident)
