"""The validation pack: which requirement is shown by which tests, what their last run said, and what no test shows.

The requirements stand in `requirements/`, one file for each source, in words of our own. Nothing counts as shown but by the results of
a run: a test that failed, was skipped, or is absent from them shows nothing. Pure; the files of requirements come with the package.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from trialdm.documents.page import Block, Document, Facts, Rows, Section, Words
from trialdm.domain.errors import Invalid

_FOLDER = Path(__file__).parent / "requirements"

#: What may be said of a requirement: each has exactly one.
STANDINGS = {
    "tests": "Shown by tests",
    "operator": "For whoever operates the instance",
    "not_applicable": "Does not apply",
    "gap": "Gap: nothing shows it",
}


@dataclass(frozen=True)
class Requirement:
    """One requirement in our words. `said` is how it is met, or the reason of its standing; `remains` is what its tests leave open."""

    id: str
    words: str
    standing: str
    said: str
    tests: tuple[str, ...] = ()
    remains: str = ""


@dataclass(frozen=True)
class Source:
    """Where requirements come from: its name and edition."""

    key: str
    title: str
    edition: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True)
class Step:
    """One step of the operational qualification at a site: what is done there, and what is to be seen."""

    do: str
    see: str


@dataclass(frozen=True)
class Around:
    """What stands beside the requirements: where two of them disagree, and what is checked where the program runs."""

    conflicts: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]


@cache
def sources() -> tuple[Source, ...]:
    """Every source with its requirements, in the order of their files."""
    return tuple(_source(path) for path in sorted(_FOLDER.glob("[0-9]-*.yaml")))


def _source(path: Path) -> Source:
    read: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return Source(path.stem.partition("-")[2], read["title"], read["edition"], tuple(_requirement(row) for row in read["requirements"]))


def _requirement(row: Mapping[str, Any]) -> Requirement:
    (standing,) = row.keys() & STANDINGS.keys()
    said = row["met"] if standing == "tests" else row[standing]
    return Requirement(row["id"], row["words"], standing, said, tuple(row.get("tests", ())), row.get("remains", ""))


@cache
def around() -> Around:
    read: dict[str, Any] = yaml.safe_load((_FOLDER / "around.yaml").read_text("utf-8"))
    conflicts = tuple((row["between"], row["words"]) for row in read["conflicts"])
    return Around(conflicts, tuple(Step(**row) for row in read["steps"]))


def named() -> list[str]:
    """Every test that a requirement names, once, in order."""
    return sorted({test for source in sources() for one in source.requirements for test in one.tests})


# --- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How often a test ran, and how: one with parameters runs once for each of its cases."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def shows(self) -> bool:
        """Whether every case passed."""
        return self.passed > 0 and not self.failed and not self.skipped

    def __str__(self) -> str:
        if self.shows:
            return "passed" if self.passed == 1 else f"passed in all {self.passed} cases"
        if not (self.passed or self.failed or self.skipped):
            return "absent from the results"
        counts = (("failed", self.failed), ("skipped", self.skipped), ("passed", self.passed))
        return ", ".join(f"{word} in {count} {'case' if count == 1 else 'cases'}" for word, count in counts if count)


@dataclass(frozen=True)
class Results:
    """A run of the tests: by file and function how each went; when it began, as it says itself; the SHA-256 of the file."""

    outcomes: Mapping[str, Outcome]
    began: str
    sha256: str

    def of(self, test: str) -> Outcome:
        return self.outcomes.get(test, Outcome())

    @property
    def total(self) -> Outcome:
        every = self.outcomes.values()
        return Outcome(sum(one.passed for one in every), sum(one.failed for one in every), sum(one.skipped for one in every))


def read(content: bytes) -> Results:
    """The results of `pytest --junitxml`. Raises Invalid for anything else."""
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ElementTree.ParseError("entities are not read")
        tree = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        tree = ElementTree.Element("none")
    counted: dict[str, Counter[str]] = {}
    for case in tree.iter("testcase"):
        counted.setdefault(_node(case), Counter())[_way(case)] += 1
    if not counted:
        raise Invalid(
            "These are no results of a run of the tests.", code="VALIDATION.RESULTS", needs="The file that 'pytest --junitxml=FILE' wrote."
        )
    suite = next(tree.iter("testsuite"), tree)
    outcomes = {node: Outcome(**counts) for node, counts in counted.items()}
    return Results(outcomes, suite.get("timestamp", "not said"), hashlib.sha256(content).hexdigest())


def _node(case: ElementTree.Element) -> str:
    """The file and function of a test, without its parameters."""
    return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"


def _way(case: ElementTree.Element) -> str:
    inside = {part.tag for part in case}
    return "failed" if inside & {"failure", "error"} else "skipped" if "skipped" in inside else "passed"


def verdict(one: Requirement, results: Results | None) -> str:
    """What may be said of a requirement by these results; without any, no test was run."""
    if one.standing != "tests":
        return STANDINGS[one.standing]
    if results is None:
        return "Not run"
    short = [test for test in one.tests if not results.of(test).shows]
    return f"Not shown: {len(short)} of {len(one.tests)} tests" if short else "Shown"


# --- the document ----------------------------------------------------------------------------------------------------

#: Counted by source, in this order.
_COUNTED = ("Shown", "Not shown by these results", "Not run", *list(STANDINGS.values())[1:])


def tally(requirements: Sequence[Requirement], results: Results | None) -> dict[str, int]:
    """How many requirements have each verdict."""
    said = Counter("Not shown by these results" if word.startswith("Not shown:") else word for word in _verdicts(requirements, results))
    return {word: said[word] for word in _COUNTED}


def _verdicts(requirements: Sequence[Requirement], results: Results | None) -> Iterator[str]:
    for one in requirements:
        yield verdict(one, results)


def title_of(test: str) -> str:
    """The name of a test as a sentence."""
    return test.partition("::")[2].removeprefix("test_").replace("_", " ")


def pack(about: Sequence[tuple[str, str]], results: Results | None) -> Document:
    """The pack as a document. `about` says what was tested, where and when; without results nothing counts as shown."""
    numbers = {test: f"T{number}" for number, test in enumerate(named(), 1)}
    lead = (
        "Each requirement in our own words, how the program meets it, the tests that show it and how they went."
        if results
        else "No results were given: no test counts as run, and no requirement as shown. Give those of a run with --results."
    )
    return Document(
        "Validation pack of trialdm",
        lead,
        [
            Section("What this is about", list(_opening(about, results))),
            Section("In numbers", [_numbers(results)]),
            *(Section(f"{source.title}: requirements", [_matrix(source, results, numbers)]) for source in sources()),
            Section("What is not shown", [_listed("Gaps", "gap"), *_short(results)]),
            Section("Where requirements disagree", [Facts(around().conflicts)]),
            Section("Duties of whoever operates the instance", [_listed("Duties", "operator")]),
            Section("What does not apply", [_listed("With the reason", "not_applicable")]),
            Section("Operational qualification, where the program runs", [_qualification()]),
            Section("The tests", [_tests(results, numbers)]),
        ],
        [f"{who}\n\nName:\n\nDate:                         Signature:" for who in _SIGNATURES],
    )


_SIGNATURES = (
    "Prepared by: I made this pack from the results named above, and carried out the operational qualification.",
    "Reviewed by: I have read the gaps and the duties, and each has an owner.",
    "Approved by, for the sponsor: the system may be used for the trial and within the limits named here.",
)


def _opening(about: Sequence[tuple[str, str]], results: Results | None) -> Iterator[Block]:
    yield Words(
        "A requirement counts as shown where every case of every test named for it passed. A test that failed, was skipped, or is absent "
        "from the results shows nothing. A test shows what the program does; that it is used as it should be is for whoever operates it."
    )
    if results is None:
        yield Facts([*about, ("Results", "none given: nothing was run")])
        return
    run = f"{results.total.passed} cases passed, {results.total.failed} failed, {results.total.skipped} were skipped"
    yield Facts([*about, ("The run began", results.began), ("All of the run", run), ("SHA-256 of the results", results.sha256)])


def _numbers(results: Results | None) -> Rows:
    counted = [(source.title, tally(source.requirements, results)) for source in sources()]
    words = [word for word in _COUNTED if word == "Shown" or any(counts[word] for _, counts in counted)]
    rows = [(name, str(sum(counts.values())), *(str(counts[word]) for word in words)) for name, counts in counted]
    every = tally([one for source in sources() for one in source.requirements], results)
    return Rows(
        "Requirements by source",
        ("Source", "Requirements", *words),
        [*rows, ("All", str(sum(every.values())), *(str(every[word]) for word in words))],
    )


def _matrix(source: Source, results: Results | None, numbers: Mapping[str, str]) -> Rows:
    rows = [
        (one.id, one.words, f"{one.said} {f'Left open: {one.remains}' if one.remains else ''}".strip(), verdict(one, results), shown_by)
        for one in source.requirements
        for shown_by in ["; ".join(_of_test(test, results, numbers) for test in one.tests)]
    ]
    columns = ("Requirement", "In our words", "How it is met, or why not", "Standing", "Tests and how they went")
    return Rows(f"{source.title} ({source.edition})", columns, rows)


def _of_test(test: str, results: Results | None, numbers: Mapping[str, str]) -> str:
    return f"{numbers[test]} {title_of(test)}: {results.of(test) if results else 'not run'}"


def _listed(caption: str, standing: str) -> Rows:
    rows = [(one.id, one.words, one.said) for source in sources() for one in source.requirements if one.standing == standing]
    return Rows(caption, ("Requirement", "In our words", "What is said"), rows)


def _short(results: Results | None) -> Iterator[Rows]:
    """What the tests of a requirement leave open, and what these results do not show."""
    every = [one for source in sources() for one in source.requirements]
    left = [(one.id, one.words, one.remains) for one in every if one.remains]
    yield Rows("Left open by the tests", ("Requirement", "In our words", "What is left open"), left)
    if results is None:
        return
    rows = [(one.id, title_of(test), str(results.of(test))) for one in every for test in one.tests if test and not results.of(test).shows]
    yield Rows("Not shown by these results", ("Requirement", "Test", "How it went"), rows or [("None", "", "")])


def _qualification() -> Rows:
    rows = [(f"OQ{number}", step.do, step.see, "", "") for number, step in enumerate(around().steps, 1)]
    return Rows("To be carried out and filed", ("Step", "What is done", "What is to be seen", "What was seen", "Initials, date"), rows)


def _tests(results: Results | None, numbers: Mapping[str, str]) -> Rows:
    rows = [(number, test, str(results.of(test)) if results else "not run") for test, number in numbers.items()]
    return Rows("Every test that a requirement names", ("Number", "File and function", "How it went"), rows)
