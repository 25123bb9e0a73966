"""Server time of the page of a form with 60 items, beside the smallest page that the application renders."""

import copy
import tempfile
from pathlib import Path
from statistics import median

import yaml

from tests import builders
from tests.bench.worlds import line, seconds
from trialdm import instance as instances
from trialdm.app import create_app
from trialdm.instance import Instance
from trialdm.services import participants, sessions, studies
from trialdm.services.unit import SYSTEM

REPEATS = 40
TRIAL = "bench"

_PROTOCOL = """
trial: {id: bench, short_title: B, title: B, version: "1.0", study_type: non-ctimp, origin: historical,
  target: {participants: 9, months: 1}}
arms: [{code: 1, name: A, label: A}, {code: 2, name: B, label: B}]
sites: [{code: S01, name: Northbridge Royal Infirmary, nation: ENG}]
visits: [{code: V01, number: 1, label: Baseline, kind: event}]
allocation: {method: list}
"""


def _form() -> str:
    """A form of 60 items of every common type, a third of them conditional."""
    kinds = [
        {"type": "yn"},
        {"type": "int", "min": 0, "max": 10, "unit": "days"},
        {"type": "code", "codes": {1: "Never", 2: "Sometimes", 3: "Always"}},
        {"type": "dec", "decimals": 1, "min": 0, "max": 300},
        {"type": "date"},
        {"type": "text", "length": 100},
    ]
    asked_if = [{}, {}, {"show_if": "q0 == 1"}]
    items = [copy.deepcopy({"name": f"q{n}", "label": f"Question {n}", **kinds[n % 6], **asked_if[n % 3]}) for n in range(60)]
    form = {"form": "BIG", "title": "Big", "kind": "outcome", "visits": {"V01": "required"}, "items": items}
    return yaml.safe_dump(form)


def run() -> None:
    """Print the median time of both pages and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        instance = instances.create(Path(folder) / "instance")
        builders.furnish(instance)
        world = builders.around(instance)
        texts = {"bench/protocol.yaml": _PROTOCOL, "bench/forms/big.yaml": _form()}
        world.run("trial-manager", lambda unit: studies.load(unit, texts))
        ident = world.run("data-manager", lambda unit: participants.add(unit, TRIAL, "S01").id)
        client = create_app(Instance(instance.settings, instance.engine, world.units)).test_client()
        email = world.actor("research-nurse").email
        secret = world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, builders.PASSWORD))
        client.set_cookie("trialdm", secret or "")
        page = f"/trials/{TRIAL}/participants/{ident}/visits/V01/forms/BIG"
        if client.get(page).status_code != 200:
            raise RuntimeError("the page of the form is not served")
        form = median(seconds(lambda: client.get(page)) for _ in range(REPEATS))
        least = median(seconds(lambda: client.get("/sign-in")) for _ in range(REPEATS))
        beside = f"{form / least:5.2f} x the sign-in page ({least * 1000:4.1f} ms)"
        line(f"form-page: 60 items in {form * 1000:5.1f} ms of server time, {beside}")
