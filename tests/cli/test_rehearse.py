"""The command `rehearse` as an operator types it."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.builders import TRIAL
from tests.cli.test_commands import Shell, email, shell

__all__ = ["shell"]

STATISTICIAN = email("statistician-blinded")
SMALL = ("--trials", "20", "--participants", "30")


def test_the_figures_are_one_document_with_their_hash(shell: Shell) -> None:
    code, found = shell.json("rehearse", TRIAL, *SMALL, who=STATISTICIAN)
    assert code == 0
    assert found["trial"] == TRIAL
    (scheme,) = found["schemes"]
    assert (scheme["config"]["method"], scheme["trials"], scheme["participants"], scheme["seed"]) == ("minimisation", 20, 30, 1)
    text = json.dumps(scheme, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == found["sha256"]
    assert shell.json("rehearse", TRIAL, *SMALL, who=STATISTICIAN)[1] == found
    assert shell.json("rehearse", TRIAL, *SMALL, "--seed", "2", who=STATISTICIAN)[1]["sha256"] != found["sha256"]


def test_a_table_and_a_report_of_schemes_side_by_side(shell: Shell, tmp_path: Path) -> None:
    other, who, report = tmp_path / "other.yaml", tmp_path / "who.json", tmp_path / "report.html"
    other.write_text("- {method: pbr, sizes: [2, 4], factors: [site]}\n- {method: simple}\n", "utf-8")
    who.write_text('{"factors": {"limb": {"1": 85, "2": 15}}}', "utf-8")
    code, out, err = shell("rehearse", TRIAL, *SMALL, "--against", str(other), "--assume", str(who), "--out", str(report), who=STATISTICIAN)
    assert (code, err) == (0, "")
    assert "20 simulated trials of 30 participants each, seed 1." in out
    assert "B: blocks 2, 4 by site\nC: simple\n" in out
    digest = out.partition("SHA-256: ")[2].split()[0]
    text = report.read_text("utf-8")
    assert digest in text
    assert "85.0 %" in text
    assert "Reviewed by (name, date, signature):" in text


@pytest.mark.parametrize(
    ("words", "who", "code", "said"),
    [
        ((), "research-nurse", 3, "ROLE.REHEARSAL.RUN"),
        (("--trials", "0"), "statistician-blinded", 2, "The number of trials must be a whole number from 1 to 100,000"),
        (("--against", "{file}"), "statistician-blinded", 2, "file.yaml:1: method bigstick needs 'mti'"),
        (("--against", "/no/such/file"), "statistician-blinded", 2, "cannot be read"),
        (("--scheme", "nose"), "statistician-blinded", 2, "no allocation scheme 'nose'"),
        (("--out", "/no/such/folder/x.html"), "statistician-blinded", 2, "cannot be written"),
    ],
)
def test_refusals_say_why(shell: Shell, tmp_path: Path, words: tuple[str, ...], who: str, code: int, said: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("method: bigstick\n", "utf-8")
    site = "S01" if who == "research-nurse" else ""
    given = [word.format(file=file) for word in words]
    found, _, err = shell("rehearse", TRIAL, *SMALL, *given, who=email(who, site))
    assert found == code
    assert said in err
