"""Long documents as PDF: a page that says so while they are made, and the file once it is there."""

from threading import Event

import pytest

from tests.api.test_concealment import browser
from tests.builders import TRIAL, World
from trialdm.documents import page, press


def test_a_long_file_is_waited_for(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = Event()

    def slowly(text: str) -> bytes:
        assert goes_on.wait(10)
        return b"%PDF codebook"

    monkeypatch.setattr(page, "pdf", slowly)
    monkeypatch.setattr(press.Press.pdf, "__defaults__", (0.01,))
    client = browser(sqlite_world, "data-manager")
    address = f"/trials/{TRIAL}/forms/codebook.pdf"
    waits = client.get(address)
    assert (waits.status_code, "is being made" in waits.get_data(as_text=True)) == (202, True)
    assert f'href="{address}"' in waits.get_data(as_text=True)
    goes_on.set()
    monkeypatch.setattr(press.Press.pdf, "__defaults__", (10,))
    there = client.get(address)
    assert (there.status_code, there.mimetype, there.data) == (200, "application/pdf", b"%PDF codebook")
