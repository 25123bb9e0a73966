"""The people of the demonstration: one account for each role, and a team at every site. All of them are invented."""

from dataclasses import dataclass
from datetime import date, timedelta

from trialdm.domain.protocol import Protocol

DOMAIN = "demo.example"

_GIVEN = (
    "Aisha Benedict Catrin Dewi Eilidh Farah Gareth Hamish Isla Jorge Kirsty Lowri Mairi Nadia Owain Priya Rhys Sinead Tomasz Una".split()
)
_FAMILY = (
    "Abara Bevan Calder Drummond Evans Fairley Gilchrist Hussain Innes Jenkins Kaur Lindsay Morgan Okafor Pryce Quinn Rao Shah".split()
)

#: Site role -> (part of the address, tasks that are delegated).
TEAM = {
    "principal-investigator": ("pi", ("consent", "eligibility", "randomise", "crf", "operate", "unblind")),
    "sub-investigator": ("si", ("consent", "eligibility", "randomise", "crf")),
    "research-nurse": ("nurse", ("consent", "eligibility", "randomise", "crf")),
    "surgeon": ("surgeon", ("crf", "operate")),
    "blinded-assessor": ("assessor", ("crf", "assess")),
}

#: Roles that work for the whole trial, with their part of the address.
UNIT = {
    "trial-coordinator": "coordinator",
    "data-manager": "data",
    "unblinded-data-manager": "data.unblinded",
    "monitor": "monitor",
    "statistician-blinded": "statistics",
    "statistician-unblinded": "statistics.unblinded",
    "chief-investigator": "ci",
    "safety-reviewer": "safety",
    "sponsor": "sponsor",
    "dmc": "dmc",
    "inspector": "inspector",
}

#: The people of the treatment pathway: audit clinicians with their organisation and their number as operators, and governance leads.
AUDITORS = {
    f"audit.s01@{DOMAIN}": ("S01", 1),
    f"audit.second.s01@{DOMAIN}": ("S01", 2),
    f"audit.s02@{DOMAIN}": ("S02", 3),
    f"audit.s03@{DOMAIN}": ("S03", 4),
}
LEADS = {site: f"governance.{site.lower()}@{DOMAIN}" for site in ("S01", "S02", "S03")}

#: Roles of the trial's office that read the treatment pathway as well.
READERS = ("sponsor", "inspector")

ADMINISTRATOR, MANAGER = f"admin@{DOMAIN}", f"manager@{DOMAIN}"


#: Whose training ends soon, and in how many days from the last one of the play.
RUNS_OUT, TRAINING_LEFT = f"si.s02@{DOMAIN}", timedelta(days=21)


@dataclass(frozen=True)
class Member:
    """Somebody in the demonstration."""

    email: str
    name: str
    role: str
    site: str = ""
    tasks: tuple[str, ...] = ()
    surgeon: int | None = None


def members(protocol: Protocol) -> list[Member]:
    """Everybody but the administrator and the trial manager, who set the instance up."""
    people = [Member(f"{part}@{DOMAIN}", _name(i), role) for i, (role, part) in enumerate(UNIT.items())]
    people = [Member(m.email, m.name, m.role, tasks=("randomise",)) if m.role == "trial-coordinator" else m for m in people]
    for i, site in enumerate(protocol.sites):
        for j, (role, (part, tasks)) in enumerate(TEAM.items()):
            number = 1 + i if role == "surgeon" else None
            email = f"{part}.{site.code.lower()}@{DOMAIN}"
            people.append(Member(email, _name(20 + 7 * i + j), role, site.code, tasks, number))
    return people


def pathway() -> list[Member]:
    """Everybody of the treatment pathway, those of the first organisation first."""
    people = [Member(email, _name(170 + 2 * i), "auditor", site) for i, (email, (site, _)) in enumerate(AUDITORS.items())]
    people += [Member(email, _name(171 + 2 * i), "governance-lead", site) for i, (site, email) in enumerate(LEADS.items())]
    return people


def _name(number: int) -> str:
    title = "Dr " if number % 3 == 0 else ""
    return f"{title}{_GIVEN[number % len(_GIVEN)]} {_FAMILY[(number * 7) % len(_FAMILY)]}"


def trained_on(opened: date) -> date:
    """When the team of a site was trained."""
    return opened - timedelta(days=14)
