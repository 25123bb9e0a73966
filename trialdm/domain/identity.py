"""Who a participant is: the identity that the vault keeps, when two identities are one person's, and what of one stands in a text.

The vault is reached through `Vault` only: four questions, and its upkeep. No identity shows itself in a message or in `repr`.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from itertools import pairwise
from typing import Any, Literal, Protocol

from trialdm.domain.errors import Detail, Invalid
from trialdm.domain.identifiers import is_nhs_number

#: NHS numbers that are given to nobody: for demonstrations, tests and training.
SYNTHETIC = "999"

_LONGEST = 100

_POSTCODE = re.compile(r"[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}", re.ASCII)
_PHONE = re.compile(r"0\d{9,10}|\+\d{8,15}", re.ASCII)


@dataclass(frozen=True)
class Identity:
    """One person, as a site knows them. Without an NHS number `no_nhs_number` says why."""

    family_name: str = field(repr=False)
    given_name: str = field(repr=False)
    born: date = field(repr=False)
    postcode: str = field(repr=False)
    nhs_number: str = field(default="", repr=False)
    no_nhs_number: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)

    def to_json(self) -> dict[str, str]:
        return {one.name: str(getattr(self, one.name)) for one in fields(self)}


#: Names of the fields, as they are sealed one by one.
FIELDS = tuple(one.name for one in fields(Identity))

#: What the fields are called.
WORDS = {
    "nhs_number": "NHS number",
    "no_nhs_number": "Why there is no NHS number",
    "family_name": "Family name",
    "given_name": "Given name",
    "born": "Date of birth",
    "postcode": "Postcode",
    "phone": "Telephone number",
}


@dataclass(frozen=True)
class Likeness:
    """How an identity compares with those of a trial: nobody's yet, or whose.

    `same`: number or name and date agree on two identifiers. `number`: the NHS number is another participant's whose name and
    date of birth both differ. `possible`: name and date of birth agree, and one of the two has no NHS number. `waiting`: the
    other one is being added at this moment.
    """

    kind: Literal["new", "same", "number", "possible", "waiting"]
    participant: str = ""


@dataclass(frozen=True)
class Waiting:
    """An entry that is not known to stand in the research database yet: whose, and for how many minutes."""

    trial: str
    participant: str
    minutes: float


class Vault(Protocol):
    """What services ask of the vault. Every method raises VaultAway where it cannot be reached."""

    @property
    def inside(self) -> bool:
        """Whether it runs inside this service: for demonstrations and tests only."""

    @property
    def views_per_hour(self) -> int:
        """How many identities one person may look at within an hour."""

    def enter(self, trial: str, who: Identity, *, by: str, participant: str = "", different: bool = False) -> Likeness:
        """Keep an identity as pending, under a fresh pseudonym or the participant's. `new` names it; any other answer kept nothing.

        `different` says that somebody has looked at a possible likeness: it is another person.
        """

    def likeness(self, trial: str, who: Identity) -> Likeness:
        """Whether somebody in the trial is this person."""

    def contains(self, trial: str, participant: str, text: str) -> tuple[str, ...]:
        """Which kinds of the participant's own identifiers stand in a text (`KINDS`)."""

    def show(self, trial: str, participant: str, *, by: str) -> Identity:
        """One identity, noted before it is given. Raises Refused beyond so many an hour, Missing where there is none."""

    def settle(self, trial: str, participant: str) -> None:
        """What is pending stands in the research database now."""

    def withdraw(self, trial: str, participant: str) -> None:
        """What is pending never came into the research database: forget it."""

    def waiting(self) -> list[Waiting]:
        """What is pending."""

    def shred(self, trial: str, participant: str, *, by: str) -> str:
        """Make an identity unreadable for good, and give the moment at which it was."""


# --- what was typed --------------------------------------------------------------------------------------------------


def read(given: Mapping[str, str], *, world: str, today: date) -> Identity:
    """The identity that was typed. Raises Invalid with one detail for each field, none of which repeats what was typed."""
    said = {name: " ".join(str(given.get(name) or "").split()) for name in FIELDS}
    wrong: dict[str, str] = {}
    number, why = re.sub(r"[ -]", "", said["nhs_number"]), said["no_nhs_number"]
    if number and why:
        wrong["no_nhs_number"] = "Give the NHS number, or why there is none: not both."
    elif number:
        wrong |= {"nhs_number": problem} if (problem := _against(number, world)) else {}
    elif not re.search(r"[^\W\d_]{3}", why):
        wrong["nhs_number"] = "Enter the NHS number, or say why there is none."
    for name in ("family_name", "given_name"):
        if not letters(said[name]):
            wrong[name] = f"Enter the {WORDS[name].lower()}."
    wrong |= {name: f"At most {_LONGEST} characters." for name in FIELDS if len(said[name]) > _LONGEST}
    born = _day(said["born"])
    if born is None or not date(today.year - 120, 1, 1) <= born <= today:
        wrong["born"] = "Enter a date of birth such as 1948-03-27, in the past."
    postcode = _spaced(said["postcode"])
    if not _POSTCODE.fullmatch(postcode) and said["postcode"].upper() != "ZZ99 3VZ":
        wrong["postcode"] = "Enter a full postcode such as LS1 4AP; ZZ99 3VZ where there is no fixed address."
    phone = re.sub(r"[ ()-]", "", said["phone"])
    if phone and not _PHONE.fullmatch(phone):
        wrong["phone"] = "Enter a telephone number with its area code, or leave it out."
    if wrong or born is None:
        details = [Detail(f"IDENTITY.{name.upper()}", message, name) for name, message in wrong.items()]
        raise Invalid("The identity cannot be right as it was entered.", code="IDENTITY.FIELDS", details=details)
    return Identity(said["family_name"], said["given_name"], born, postcode, number, why, phone)


def _against(number: str, world: str) -> str:
    """What speaks against an NHS number; empty where nothing does."""
    if not re.fullmatch(r"\d{10}", number, re.ASCII) or len(set(number)) == 1 or not is_nhs_number(number):
        return "This is no NHS number: it has ten digits, and the last one checks the others."
    if number.startswith(SYNTHETIC) != (world != "live"):
        if world == "live":
            return f"Numbers that begin with {SYNTHETIC} are invented: enter the person's own."
        return f"Nothing is real here: only invented numbers that begin with {SYNTHETIC} are taken."
    return ""


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _spaced(postcode: str) -> str:
    plain = postcode.upper().replace(" ", "")
    return f"{plain[:-3]} {plain[-3:]}"


# --- the same person -------------------------------------------------------------------------------------------------


def letters(name: str) -> str:
    """A name without accents, case and everything that is no letter."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("ø", "o").replace("Ø", "O").replace("ł", "l").replace("Ł", "L"))
    return "".join(char for char in plain.casefold() if char.isalpha())


def by_number(number: str) -> bytes:
    """What the blind index of an NHS number is made of."""
    return f"nhs|v1|{number}".encode()


def by_name(who: Identity) -> bytes:
    """What the blind index of name and date of birth is made of."""
    return f"name|v1|{letters(who.family_name)}|{letters(who.given_name)}|{who.born.isoformat()}".encode()


def agree(one: Identity, other: Identity) -> bool:
    """Whether a second identifier agrees beside the NHS number: the date of birth, or a name."""
    names = {letters(one.family_name), letters(one.given_name)} & {letters(other.family_name), letters(other.given_name)}
    return one.born == other.born or bool(names)


# --- in a text -------------------------------------------------------------------------------------------------------

#: Kind of a participant's own identifier in a text -> in words, and whether it is certain.
KINDS: dict[str, tuple[str, bool]] = {
    "nhs_number": ("this participant's NHS number", True),
    "born": ("this participant's date of birth", True),
    "full_name": ("this participant's name", True),
    "phone": ("this participant's telephone number", True),
    "name": ("a name of this participant", False),
    "postcode": ("this participant's postcode", False),
}


def found_in(who: Identity, text: str) -> tuple[str, ...]:
    """Which kinds of a person's identifiers stand in a text."""
    names = _names_in(who, text)
    tests = {
        "nhs_number": who.nhs_number and who.nhs_number in _numbers(text),
        "born": _born_in(who.born, text),
        "full_name": names == {"family_name", "given_name"},
        "phone": who.phone and any(who.phone[-9:] == run[-9:] for run in _numbers(text) if len(run) >= 9),
        "name": len(names) == 1,
        "postcode": who.postcode.replace(" ", "") in _postcodes(text),
    }
    return tuple(kind for kind in KINDS if tests[kind])


def _numbers(text: str) -> set[str]:
    """Runs of digits, with separators between them left out."""
    return {re.sub(r"\D", "", run) for run in re.findall(r"\d(?:[ .()-]{0,2}\d)+", text)}


def _postcodes(text: str) -> set[str]:
    found = re.findall(r"\b([A-Z]{1,2}\d[A-Z\d]?) ?(\d[A-Z]{2})\b", text.upper(), re.ASCII)
    return {outer + inner for outer, inner in found}


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATES = (
    (re.compile(r"(?<!\d)(\d{1,2})[./ -](\d{1,2})[./ -](\d{4}|\d{2})(?!\d)", re.ASCII), (0, 1, 2)),
    (re.compile(r"(?<!\d)(\d{4})[./ -](\d{1,2})[./ -](\d{1,2})(?!\d)", re.ASCII), (2, 1, 0)),
    (re.compile(r"(?<!\d)(\d{2})(\d{2})(\d{4})(?!\d)", re.ASCII), (0, 1, 2)),
    (re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)", re.ASCII), (2, 1, 0)),
    (re.compile(rf"(?<!\d)(\d{{1,2}})(?:st|nd|rd|th)?(?: of)?[ -]*{_MONTH},?[ -]*(\d{{4}}|\d{{2}})(?!\d)", re.ASCII | re.I), (0, 1, 2)),
    (re.compile(rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?,? *(\d{{4}}|\d{{2}})(?!\d)", re.ASCII | re.I), (1, 0, 2)),
)


def _born_in(born: date, text: str) -> bool:
    """Whether a date of birth stands in a text, in one of the usual ways of writing it."""
    for pattern, order in _DATES:
        for found in pattern.findall(text):
            day, month, year = (found[place] for place in order)
            number = _MONTHS.index(month[:3].lower()) + 1 if month.isalpha() else int(month)
            years = {born.year, born.year % 100} if len(year) == 2 else {born.year}
            if (int(day), number) == (born.day, born.month) and int(year) in years:
                return True
    return False


#: Words of clinical notes that are one letter away from common names: they count only where they are the very name.
_WORDS_OF_NOTES = frozenset(
    "about after ankle arm back block blood bone boots brown burn calf care cast chair clean clear climb cream day days dark dose "
    "drain dress drop fall feet felt fever fine fit foot graft green hand harm head heal heel help hip home hurt keen knee lamb "
    "leg less light limb long loss lower mark mild more move nerve night none pain pale plan poor pulse rash rest right scar sharp "
    "shin short site skin sleep slow small sock sore stable stiff stone strong stump swell there toe toes took torn touch upper "
    "vein visit walk ward warm wash water weak week well white wound young".split()
)


def _names_in(who: Identity, text: str) -> set[str]:
    """Which of family and given name stand in a text: folded, and from five letters on with one letter wrong."""
    words = {folded for word in re.split(r"[\s,;:.!?()/\"]+", text) for folded in _spellings(word)}
    words |= {letters(one + other) for one, other in pairwise(text.split())}
    found = set()
    for name in ("family_name", "given_name"):
        spoken = getattr(who, name)
        wanted = {letters(spoken)} | {part for word in re.split(r"[\s-]+", spoken) if len(part := letters(word)) > 2}
        if any(_is(word, one) for one in wanted for word in words):
            found.add(name)
    return found


def _spellings(word: str) -> Iterator[str]:
    """A word as it may be read: whole, its parts at hyphens, and without what follows an apostrophe."""
    for part in {word, *word.split("-")}:
        yield letters(part)
        yield letters(re.split(r"['\u2019]", part)[0])


def _is(word: str, name: str) -> bool:
    if word == name:
        return True
    return len(name) > 4 and len(word) > 3 and word not in _WORDS_OF_NOTES and one_apart(word, name)


def one_apart(one: str, other: str) -> bool:
    """Whether two words differ by one letter: another one, one more, one less, or two neighbours swapped."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    if len(one) != len(other):
        short, long = sorted((one, other), key=len)
        return any(short == long[:i] + long[i + 1 :] for i in range(len(long)))
    places = [i for i in range(len(one)) if one[i] != other[i]]
    if len(places) == 2 and places[1] == places[0] + 1:
        return one[places[0]] == other[places[1]] and one[places[1]] == other[places[0]]
    return len(places) == 1


def from_json(raw: Mapping[str, Any]) -> Identity:
    """An identity from what `to_json` gave."""
    return Identity(**{**raw, "born": date.fromisoformat(raw["born"])})
