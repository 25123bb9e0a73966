"""Invented people: names from short lists, NHS numbers from the range that is given to nobody."""

import random
from datetime import date, timedelta

from trialdm.domain.identifiers import is_nhs_number

_FAMILY = (
    "Abernethy Barraclough Castellane Dunstable Entwistle Farquhar Gillespie Hollingworth Inglethorpe Jessop Kettlewell Lambourne "
    "Micklethwait Netherby Ormerod Pemberton Quarmby Ravenscroft Shuttleworth Thistlewood Underhay Venables Wigglesworth Yarborough"
).split()
_GIVEN = (
    "Ailsa Bartholomew Cordelia Desmond Eleanora Ferdinand Gwendoline Horatio Imogen Jocelyn Katrina Leopold Marigold Nathaniel Ottoline "
    "Percival Quentin Rosalind Sebastian Theodora Ursula Valentina Winifred Zachary"
).split()
_POSTCODES = ("LS1 4AP", "M1 1AE", "CF10 1EP", "EH1 1YZ", "BT1 5GS", "B1 1BB", "NE1 7RU", "BS1 5TR")


def nhs_number(number: int) -> str:
    """The invented NHS number of somebody: the next one from there that has a check digit."""
    for middle in range(number * 3, number * 3 + 3):
        for check in range(10):
            digits = f"999{middle:06d}{check}"
            if is_nhs_number(digits):
                return digits
    raise ValueError("no NHS number was found")


def invented(number: int) -> dict[str, str]:
    """Who the participant with this number is; the same person each time."""
    rng = random.Random(f"person {number}")
    born = date(1936, 1, 1) + timedelta(days=rng.randrange(50 * 365))
    given = {"family_name": rng.choice(_FAMILY), "given_name": rng.choice(_GIVEN), "born": born.isoformat()}
    given |= {"postcode": rng.choice(_POSTCODES), "phone": f"0113 496 0{rng.randrange(1000):03d}"}
    if number % 12 == 11:
        return {**given, "no_nhs_number": "Lives abroad and is not registered"}
    return {**given, "nhs_number": nhs_number(number)}
