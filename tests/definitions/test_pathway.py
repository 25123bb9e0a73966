"""Arms and allocation: needed by every trial, and out of place in the treatment pathway."""

import re

import pytest

from tests.builders import ROOT
from tests.definitions.small import FILES, broken
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import BadDefinition, read_folder
from trialdm.domain.errors import Missing

TOP = "demo/protocol.yaml"
FOLDER = ROOT / "protocols"


def said(files: dict[str, str]) -> list[str]:
    with pytest.raises(BadDefinition) as refusal:
        load_protocol(files)
    return [problem.message for problem in refusal.value.problems]


def without(text: str, *keys: str) -> str:
    """The text of a protocol without some of its parts."""
    for key in keys:
        text = re.sub(rf"^{key}:.*\n(?:[ -].*\n)*", "", text, flags=re.M)
    return text


def test_a_trial_needs_arms_and_an_allocation() -> None:
    files = {**FILES, TOP: without(FILES[TOP], "arms", "allocation")}
    assert sorted(said(files), reverse=True) == [
        "'arms' is missing: only a study of the treatment pathway (pathway: secondary) goes without",
        "'allocation' is missing: only a study of the treatment pathway (pathway: secondary) goes without",
    ]


def test_the_treatment_pathway_has_neither_and_audit_forms_only() -> None:
    found = said(broken(FILES, TOP, "study_type: non-ctimp,", "study_type: non-ctimp, pathway: secondary,"))
    assert [line for line in found if "has no place" in line] == [
        "'arms' has no place in the treatment pathway (pathway: secondary): nobody is allocated there",
        "'allocation' has no place in the treatment pathway (pathway: secondary): nobody is allocated there",
    ]
    assert "form CLIN is of kind baseline: only forms of kind audit belong to the treatment pathway (pathway: secondary)" in found


def test_a_trial_has_no_audit_form() -> None:
    (line,) = said(broken(FILES, "demo/forms/clin.yaml", "kind: baseline", "kind: audit"))
    assert line.startswith("form CLIN is of kind audit: forms of kind audit belong to no study but one of the treatment pathway")


def test_a_study_without_allocation_has_no_scheme() -> None:
    protocol = load_protocol(read_folder(FOLDER / "tmr-audit"))
    assert (protocol.treats, protocol.machine, protocol.schemes, protocol.later_schemes) == (True, "case", (), ())
    for ask in (lambda: protocol.scheme, lambda: protocol.scheme_named(""), lambda: protocol.scheme_named("main")):
        with pytest.raises(Missing) as refusal:
            ask()
        assert refusal.value.code == "ALLOC.NO_SCHEME"


def test_the_trial_holds_nothing_of_the_audit() -> None:
    trial, audit = (load_protocol(read_folder(FOLDER / name)) for name in ("pre-tmr", "tmr-audit"))
    assert not {form.code for form in trial.forms} & {form.code for form in audit.forms}
    assert not [name for name in trial.codelists if name.startswith("CL_AU")]
    assert {site.code: site.name for site in audit.sites}.items() <= {site.code: site.name for site in trial.sites}.items()
