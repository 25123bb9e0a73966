"""The codebook: one accessible page that says what every column of a dataset means, with no script and no other file.

Knows definitions only: the codebook of an empty trial is that of a full one.
"""

from collections.abc import Mapping, Sequence
from html import escape

from trialdm.domain.values import MISSING_REASONS
from trialdm.exports import dta
from trialdm.exports.dataset import REASON_NUMBERS, Column, Table

_STYLE = """
body { font: 1rem/1.5 Arial, sans-serif; color: #212b32; background: #fff; margin: 0 auto; max-width: 80rem; padding: 1rem; }
h1, h2 { line-height: 1.2; }
h2 { border-top: 4px solid #005eb8; margin-top: 3rem; padding-top: 1rem; }
a { color: #005eb8; }
a:focus { background: #ffeb3b; color: #212b32; outline: 3px solid #212b32; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { border: 1px solid #768692; padding: .4rem .6rem; text-align: left; vertical-align: top; }
thead th { background: #f0f4f5; }
tbody th { font-family: monospace; font-weight: bold; }
td ul { margin: 0; padding-left: 1.2rem; }
.about { color: #4c6272; margin: .2rem 0 0; }
.wide { overflow-x: auto; }
@media print { a { color: inherit; } h2 { break-before: page; } }
"""

_IDENTITY = {
    "trial": "Trial",
    "protocol_version": "Version of the protocol",
    "blinding": "Blinding",
    "layout": "Layout",
    "as_of": "Data as of",
    "software_version": "Version of trialdm",
}


def page(identity: Mapping[str, str], tables: Sequence[Table]) -> str:
    """The whole page; `identity` is that of the package."""
    title = f"Codebook of {identity['trial']}"
    contents = "".join(f'<li><a href="#{escape(t.name)}">{escape(t.name)}</a>: {escape(t.title)}</li>' for t in tables)
    return (
        f'<!doctype html>\n<html lang="en-GB">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n{_about(identity)}\n{_MISSING}\n"
        f'<nav aria-labelledby="contents"><h2 id="contents">Tables</h2>\n<ul>{contents}</ul></nav>\n'
        f"{''.join(_section(table) for table in tables)}</main>\n</body>\n</html>\n"
    )


def type_in_words(column: Column) -> str:
    """The type as a statistician reads it: "whole number", "text, up to 800 bytes"."""
    match column.kind:
        case "text":
            return f"text, up to {column.width} bytes of UTF-8"
        case "number":
            return "whole number" if column.whole else f"number, {column.decimals} decimal place{'s' * (column.decimals > 1)}"
        case "datetime":
            return "date and time"
    return column.kind


def _about(identity: Mapping[str, str]) -> str:
    rows = (f'<tr><th scope="row">{label}</th><td>{escape(identity[key])}</td></tr>' for key, label in _IDENTITY.items())
    return f"<table><caption>This dataset</caption><tbody>{''.join(rows)}</tbody></table>"


def _missing_reasons() -> str:
    rows = "".join(
        f'<tr><th scope="row">{reason}</th><td>{escape(words)}</td><td>{-90 - REASON_NUMBERS[reason]}</td><td>.{dta.tag(reason)}</td></tr>'
        for reason, words in MISSING_REASONS.items()
    )
    return (
        '<h2 id="missing">Missing values</h2>\n'
        "<p>An empty cell (system missing in SPSS and Stata) means that nothing was entered, or that the question did not "
        "apply. Where a reason was given, a number holds it in the cell itself, as below; for text, dates, times and "
        "multiple choices the column ending in <code>_mr</code> holds the two letters. CSV files use the numbers of SPSS; "
        'read them with empty cells alone as missing (in R <code>na = ""</code>), as NA is one of the reasons.</p>\n'
        "<table><caption>Reasons for missing values</caption>\n"
        '<thead><tr><th scope="col">Reason</th><th scope="col">Meaning</th><th scope="col">SPSS and CSV</th>'
        f'<th scope="col">Stata</th></tr></thead>\n<tbody>{rows}</tbody></table>'
    )


_MISSING = _missing_reasons()


def _section(table: Table) -> str:
    rows = "".join(_row(column) for column in table.columns)
    origin = f"<p>{escape(table.origin[:1].upper() + table.origin[1:])}.</p>\n" if table.origin else ""
    head = "".join(f'<th scope="col">{word}</th>' for word in ("Column", "Label", "Type", "Unit", "Values", "Missing reasons"))
    return (
        f'<section aria-labelledby="{escape(table.name)}">\n<h2 id="{escape(table.name)}">{escape(table.name)}: '
        f'{escape(table.title)}</h2>\n{origin}<div class="wide" tabindex="0" role="region" '
        f'aria-label="Columns of {escape(table.name)}"><table><caption>Columns of {escape(table.name)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n</section>\n"
    )


def _row(column: Column) -> str:
    codes = "".join(f"<li>{code}: {escape(label)}</li>" for code, label in column.value_labels.items())
    values = f"<ul>{codes}</ul>" if codes else ""
    reasons = "in the cell" if column.reasons else ""
    label = escape(column.label) + (f'<p class="about">{escape(column.about)}</p>' if column.about else "")
    cells = (label, type_in_words(column), escape(column.unit), values, reasons)
    return f'<tr><th scope="row">{escape(column.name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
