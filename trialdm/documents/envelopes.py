"""Envelopes to print: for each one a sheet to fold into the envelope, and a label to stick on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from trialdm.documents.page import frame


@dataclass(frozen=True)
class Slip:
    """One envelope: its number, and the arm that its sheet names."""

    number: int
    arm: str
    label: str


_STYLE = """
body { font: 14pt/1.5 system-ui, sans-serif; color: #000; background: #fff; margin: 2cm }
section { break-after: page; min-height: 22cm }
h1 { font-size: 22pt } .arm { font-size: 26pt; font-weight: 700; margin: 3cm 0 1cm }
.fold { border-top: 1px dashed #000; margin-top: 4cm; padding-top: .5cm }
td, th { padding: .5cm; border: 1px solid #000; text-align: left; font-size: 14pt }
"""

_RULES = (
    "Open this envelope only while the trial system cannot be reached.",
    "Open the envelopes in the order of their numbers.",
    "Check consent, eligibility and baseline first: an opened envelope is an allocation.",
    "Fill in the table below at once. Enter it in the system as soon as it is back.",
    "Never open an envelope to look. Never put one back.",
)

_FIELDS = ("Participant", "Opened on, at", "Opened by", "Signature")


def printable(trial: str, site: str, slips: Sequence[Slip]) -> str:
    """One HTML file to print: a cover sheet, and for each envelope its label and the sheet that goes inside."""
    numbers = f"{slips[0].number} to {slips[-1].number}"
    cover = (
        f"<section><h1>{escape(trial)}, site {escape(site)}: envelopes {numbers}</h1>"
        "<p>For the person who prints them: put each sheet into an opaque envelope, stick its label on it, seal it, and sign across the "
        "seal. Delete this file then. The sheets name the arms: nobody else may see them.</p></section>"
    )
    return frame(f"{trial}, site {site}: envelopes", _STYLE, cover + "".join(_slip(trial, site, slip) for slip in slips))


def _slip(trial: str, site: str, slip: Slip) -> str:
    name = f"{escape(trial)}, site {escape(site)}, envelope {slip.number}"
    rules = "".join(f"<li>{rule}</li>" for rule in _RULES)
    cells = "".join(f'<tr><th scope="row">{field}</th><td></td></tr>' for field in _FIELDS)
    label = f"<section><h1>{name}</h1><ul>{rules}</ul><table><tbody>{cells}</tbody></table></section>"
    arm = f'<p class="arm">{escape(slip.label)} ({escape(slip.arm)})</p>'
    inside = f'<section><h1>{name}</h1><p class="fold">Allocation:</p>{arm}</section>'
    return label + inside
