"""Importing over the API and on its page: what is previewed is what is imported."""

import io
import re
from typing import Any

import pytest

from tests import builders
from tests.api.test_api import Api
from tests.api.test_concealment import browser
from tests.builders import TRIAL, World

PAGE = f"/trials/{TRIAL}/imports"


def file(ident: str, worst: str = "5") -> str:
    return f"participant,visit,limb_worst,limb_avg,pain_assist\n{ident},V01,{worst},3,1\n"


def test_a_file_is_tried_and_imported_over_the_api(sqlite_world: World) -> None:
    api, ident = Api(sqlite_world), builders.consented(sqlite_world)

    def send(role: str, **body: Any) -> Any:
        return api.send(role, "POST", "/imports", json={"form": "PAIN", **body})

    tried = send("data-manager", text=file(ident, "eleven"), dry_run=True)
    assert (tried.status_code, tried.json["errors"][0]["column"], tried.json["saved"]) == (200, "limb_worst", 0)
    wrong = send("data-manager", text=file(ident, "eleven"))
    assert (wrong.status_code, wrong.mimetype, wrong.json["code"]) == (422, "application/problem+json", "IMPORT.CELLS")
    assert send("data-manager", text=file(ident), dry_run=True).json["saved"] == 1
    assert send("data-manager", text=file(ident)).json["saved"] == 1
    assert send("data-manager", text=file(ident)).json == {
        "rows": 1,
        "saved": 0,
        "unchanged": 1,
        "warnings": [],
        "errors": [],
        "changes": [],
    }
    assert send("research-nurse", text=file(ident)).status_code == 403
    assert send("data-manager", text=file(ident), more=1).status_code == 422


class Visitor:
    """The data manager at the pages of the import."""

    def __init__(self, world: World, role: str = "data-manager") -> None:
        self.client = browser(world, role)

    def send(self, path: str, **fields: Any) -> tuple[int, str]:
        token = re.search(r'name="csrf_token" value="([^"]*)"', self.client.get(f"/trials/{TRIAL}").get_data(as_text=True))
        assert token
        answer = self.client.post(path, data={"csrf_token": token.group(1), **fields}, content_type="multipart/form-data")
        return answer.status_code, answer.get_data(as_text=True) + answer.headers.get("Location", "")

    def preview(self, text: str, form: str = "PAIN", **fields: str) -> tuple[int, str]:
        return self.send(PAGE, form=form, file=(io.BytesIO(text.encode()), "pain.csv"), **fields)


def test_a_file_is_previewed_and_then_imported_without_being_sent_again(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    visitor = Visitor(sqlite_world)
    status, page = visitor.preview(file(ident))
    assert status == 200
    assert f"{ident} V01" in page
    sealed = re.search(r'name="sealed" value="([^"]*)"', page)
    assert sealed
    assert ident not in sealed.group(1)
    status, page = visitor.send(f"{PAGE}/load", form="PAIN", sealed=sealed.group(1))
    assert (status, "saved=1" in page) == (303, True)
    status, page = visitor.preview(file(ident))
    assert "There is nothing to import" in page


@pytest.mark.parametrize(
    ("form", "text", "status", "says"),
    [
        ("", "participant,visit\nx,V01\n", 422, "Choose the form"),
        ("PAIN", "participant,visit,limb_worst\nx,V01,5\n", 422, "does not fit"),
        ("PAIN", "participant,visit,limb_wurst\nx,V01,5\n", 422, "limb_wurst"),
        ("SURG", "participant,visit\nx,V02\n", 404, "no form"),
    ],
)
def test_what_does_not_fit_is_shown_and_no_way_leads_on(sqlite_world: World, form: str, text: str, status: int, says: str) -> None:
    found, page = Visitor(sqlite_world).preview(text, form)
    assert (found, says in page) == (status, True)
    assert 'name="sealed"' not in page


def test_only_data_managers_import(sqlite_world: World) -> None:
    nurse = Visitor(sqlite_world, "research-nurse")
    assert nurse.client.get(PAGE).status_code == 403
    assert nurse.client.get(f"{PAGE}/PAIN.csv").status_code == 403
    assert nurse.preview("participant,visit\nx,V01\n")[0] == 403


def test_an_empty_file_is_the_header_alone(sqlite_world: World) -> None:
    visitor = Visitor(sqlite_world)
    text = visitor.client.get(f"{PAGE}/ANLG.csv").get_data(as_text=True)
    assert text.count("\n") == 1
    assert text.startswith("participant,visit,row,an_any,an_class,an_drug,an_drug_mr,")
    assert visitor.client.get(f"{PAGE}/SURG.csv").status_code == 404
