"""The document of a rehearsal: complete in itself, escaped, the same every time, readable without the pictures."""

from collections import Counter
from html.parser import HTMLParser

import pytest

from tests.rehearsal.schemes import RECRUITS, minimisation, scheme
from trialdm.rehearsal.plots import plots
from trialdm.rehearsal.recruits import Recruitment
from trialdm.rehearsal.report import document
from trialdm.rehearsal.simulate import Rehearsal, compare, rehearse, sha256


class Page(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def compared() -> list[Rehearsal]:
    configs = [scheme("bigstick", mti=3), minimisation("site", "limb", "cause"), scheme("pbr", "limb", sizes=[2, 4])]
    return compare(configs, RECRUITS, trials=50, participants=40, seed=11, slots=30)


def test_says_everything(compared: list[Rehearsal]) -> None:
    page = Page(document(compared, title="Rehearsal of a trial", signatures=["Statistician", "Chief investigator"]))
    for words in (
        "50 simulated trials of 40 participants each, seed 11.",
        "Lists have 30 places in each stratum.",
        "big stick 3",
        "minimisation p = 4/5 (site, limb, cause)",
        "blocks 2, 4 by limb",
        "depends on the levels of the participants",
        sha256(compared),
        "Statistician",
        "Chief investigator",
    ):
        assert words in page.text


def test_needs_nothing_else(compared: list[Rehearsal]) -> None:
    page = Page(document(compared, title="x"))
    assert page.elements[0] == ("html", {"lang": "en-GB"})
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "image"}
    links = [value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href", "xlink:href")]
    assert all(value and value.startswith("#") for value in links)
    assert "url(http" not in document(compared, title="x")


def test_reads_without_pictures(compared: list[Rehearsal]) -> None:
    page = Page(document(compared, title="x"))
    count = Counter(tag for tag, _ in page.elements)
    assert count["table"] == count["caption"] > 5
    assert all(attributes["scope"] in ("col", "row") for tag, attributes in page.elements if tag == "th")
    assert count["figure"] == count["figcaption"] == count["svg"] == 3
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert "Right guesses of the next arm, by what is remembered. Big stick 3: own site " in page.text


def test_escapes() -> None:
    config = scheme("pbr", sizes=[2], arms=[["<b>A", 1], ["B&", 1]]) | {"factors": [{"name": "<i>$x$", "levels": ["$<u>", "&"]}]}
    made = document([rehearse(config, Recruitment(), trials=5, participants=6, seed=1)], title="<s>", signatures=["<u>sign"])
    assert not {"b", "i", "u", "s"} & {tag for tag, _ in Page(made).elements}
    assert "<s>" in Page(made).text
    assert "Blocks 2 by <i>$x$: mean" in Page(made).text


def test_the_same_every_time(compared: list[Rehearsal]) -> None:
    assert document(compared, title="x") == document(compared, title="x")


def test_a_scheme_without_factors_has_no_plot_of_factors() -> None:
    found = plots([rehearse(scheme("simple", arms=[["A", 2], ["B", 1]]), Recruitment(), trials=5, participants=6, seed=1)])
    assert [plot.title for plot in found] == [
        "Imbalance between the arms at the end of recruitment",
        "Right guesses of the next arm, by what is remembered",
    ]
    assert "per unit of ratio" in found[0].svg


def test_nothing_to_report() -> None:
    with pytest.raises(ValueError, match="no rehearsal"):
        document([], title="x")
