"""What a document is made of, and how it becomes one HTML file that needs nothing else, or a PDF."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from trialdm.domain.errors import Missing


@dataclass(frozen=True)
class Words:
    """A paragraph; `code` for what is to be compared letter by letter."""

    text: str
    code: bool = False
    kind: str = "words"


@dataclass(frozen=True)
class Facts:
    """Terms, each with what is to be said of it."""

    rows: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Rows:
    """A table: its caption, its columns, and its rows, the first cell of each being the row's name."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "rows"


@dataclass(frozen=True)
class Drawing:
    """A picture as SVG, with what it shows in words."""

    svg: str
    words: str
    kind: str = "drawing"


@dataclass(frozen=True)
class Ask:
    """A question to be answered by hand: what is said about it, and choices to tick, boxes for characters, or ruled lines.
    `none` leaves room for the code of a missing answer.

    In `boxes` every underscore is a box, and everything else stands between them: `__/__/____`.
    """

    label: str
    notes: Sequence[str] = ()
    choices: Sequence[str] = ()
    boxes: str = ""
    lines: int = 0
    unit: str = ""
    none: bool = True
    kind: str = "ask"


Block = Words | Facts | Rows | Drawing | Ask


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A document: title, a line below it, sections, and boxes for signatures."""

    title: str
    lead: str
    sections: Sequence[Section]
    signatures: Sequence[str] = field(default_factory=tuple)


STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.25rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0 }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem }
th, td { border-bottom: 1px solid #999; padding: .3rem .7rem; text-align: left; vertical-align: top }
dt { font-weight: 600 } dd { margin: 0 0 .5rem 0; overflow-wrap: anywhere }
figure { margin: 1rem 0 } figure svg { max-width: 100%; height: auto }
code { overflow-wrap: anywhere; white-space: pre-wrap }
.sign { border: 1px solid #777; padding: 1rem; margin: 1rem 0; min-height: 4rem; white-space: pre-wrap }
.by-hand { border-top: 1px solid #999; padding: .4rem 0; break-inside: avoid } .by-hand p { margin: .1rem 0 }
.by-hand .asked { font-weight: 600 } .by-hand ul { margin: .2rem 0; list-style: none; padding: 0; columns: 2 }
.by-hand .note { font-size: .9rem }
.box { display: inline-block; border: 1px solid #1b1b1b; width: 1.1em; height: 1.3em; vertical-align: middle; margin: 0 .1em }
.ruled { border-bottom: 1px solid #1b1b1b; height: 2rem } .by-hand .none { text-align: right; font-size: .9rem }
@media print { h2 { break-after: avoid } table, figure, .sign { break-inside: avoid } }
"""


def html(document: Document) -> str:
    """The document as one HTML file: nothing is fetched from anywhere."""
    body = [f"<h1>{escape(document.title)}</h1>", f"<p>{escape(document.lead)}</p>"]
    for section in document.sections:
        body += [f"<h2>{escape(section.title)}</h2>", *(_block(block) for block in section.blocks)]
    body += [f'<div class="sign">{escape(text)}</div>' for text in document.signatures]
    return frame(document.title, STYLE, "\n".join(body))


def frame(title: str, style: str, body: str) -> str:
    """An HTML file around a body that is HTML already."""
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{meta}<title>{escape(title)}</title><style>{style}</style></head>"
    return f'<!doctype html>\n<html lang="en-GB">\n{head}\n<body><main>\n{body}\n</main></body>\n</html>\n'


def _block(block: Block) -> str:
    match block:
        case Words():
            text = escape(block.text)
            return f"<p><code>{text}</code></p>" if block.code else f"<p>{text}</p>"
        case Facts():
            return "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(value)}</dd>" for term, value in block.rows) + "</dl>"
        case Rows():
            return table(block)
        case Drawing():
            return f"<figure>{block.svg}<figcaption>{escape(block.words)}</figcaption></figure>"
        case Ask():
            return ask(block)


def ask(block: Ask) -> str:
    """A question as it is printed. Every text is escaped here."""
    parts = [f'<p class="asked">{escape(block.label)}</p>', *(f'<p class="note">{escape(note)}</p>' for note in block.notes)]
    if block.choices:
        parts.append("<ul>" + "".join(f'<li><span class="box"></span> {escape(choice)}</li>' for choice in block.choices) + "</ul>")
    if block.boxes:
        drawn = "".join('<span class="box"></span>' if sign == "_" else escape(sign) for sign in block.boxes)
        parts.append(f'<p class="boxes">{drawn} {escape(block.unit)}</p>')
    parts += ['<div class="ruled"></div>'] * block.lines
    if block.none:
        parts.append('<p class="none">No answer: code <span class="box"></span><span class="box"></span></p>')
    return f'<div class="by-hand">{"".join(parts)}</div>'


def table(block: Rows) -> str:
    """A table that scrolls by itself where it is too wide, by keyboard too. Every cell is escaped here."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in block.columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in block.rows
    )
    caption = escape(block.caption)
    inside = f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0" role="region" aria-label="{caption}">{inside}</div>'


def pdf(text: str) -> bytes:
    """An HTML file as PDF. Raises Missing where the extra `pdf` is not installed."""
    try:
        from weasyprint import HTML
    except ImportError:
        raise Missing(
            "PDF files need the extra 'pdf'.", code="DOCUMENT.PDF", needs="pip install 'trialdm[pdf]', or a file that ends in .html."
        ) from None
    made: bytes = HTML(string=text).write_pdf()
    return made
