"""The shape of every definition file: keys, types, choices and what each one means.

One description serves three ends: it checks the files, it makes the JSON Schema for editors, and its texts are the
reference page of the guide. What only makes sense across places (a codelist that exists, a calculation without circles) is
checked where the objects are built.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from trialdm.domain import ethics, roles
from trialdm.domain.crf import FORM_KINDS, MEANINGS
from trialdm.domain.derivations import TAKES
from trialdm.domain.protocol import NATIONS
from trialdm.domain.randomisation.minimisation import IMBALANCE
from trialdm.domain.randomisation.schemes import METHODS
from trialdm.domain.values import TYPES

DIGEST = validate.Regexp(r"^[0-9a-fA-F]{64}\Z", error="must be a SHA-256: 64 hexadecimal digits")
NAME = validate.Regexp(r"^[a-z][a-z0-9_]{0,23}\Z", error="must be lower-case letters, digits and _, at most 24, a letter first")
FORM_CODE = validate.Regexp(r"^[A-Z][A-Z0-9]{1,7}\Z", error="must be 2 to 8 capital letters or digits")
LEVEL = validate.Regexp(r"^[^|\s][^|]{0,39}\Z", error="must be 1 to 40 characters without |")
VISIT_CODE = validate.Regexp(r"^[A-Z][A-Z0-9]{0,5}\Z", error="must be 1 to 6 capital letters or digits")
SITE_CODE = validate.Regexp(r"^[A-Z][A-Z0-9]{1,7}\Z", error="must be 2 to 8 capital letters or digits")
TRIAL_ID = validate.Regexp(
    r"^[a-z][a-z0-9-]{1,30}[a-z0-9]\Z",
    error="must be 3 to 32 lower-case letters, digits and hyphens, a letter first and no hyphen last",
)

#: Registers that can give the codes of an item.
REGISTERS = ("documents.PIS", "documents.ICF", "staff", "surgeons", "assessors", "site-staff")

#: Values that the system fills; `factor.NAME` is any factor of the allocation.
SYSTEM = ("expected_list", "screening_no", "audit_no", "row", "rand_no", "rand_dtm", "rand_arm", "rand_by", "rand_method")


class Text(fields.String):
    """Text on one place; blank text is refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be text: put it in quotes")
        if not value.strip():
            raise ValidationError("must not be blank")
        return value.strip()


def sized(number: Decimal) -> Decimal:
    """The number. Raises ValidationError where it has more digits than an answer can have."""
    if number.adjusted() >= 15 or int(number.as_tuple().exponent) < -12:
        raise ValidationError("must have at most 15 digits before the point and 12 after it")
    return number


class Number(fields.Field[Decimal]):
    """A whole number or a decimal, kept exactly; no larger and no finer than an answer can be."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ValidationError("must be a number")
        return sized(Decimal(value))


class Day(fields.Date):
    """A calendar day, such as 2026-03-01."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if type(value) is not date:
            raise ValidationError("must be a date such as 2026-03-01, without quotes")
        return value


class Choice(fields.Field[Any]):
    """The label of a code: text, or a map with `label` and what blinded roles read."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str) and value.strip():
            return {"label": value.strip()}
        if isinstance(value, dict):
            return ChoiceSchema().load(value)
        raise ValidationError("must be a label in quotes")


def one_of(choices: Any) -> validate.OneOf:
    """A choice from a list, with the list in the message."""
    return validate.OneOf(tuple(choices), error="must be one of: {choices}")


def whole(doc: str, **kwargs: Any) -> fields.Integer:
    return fields.Integer(strict=True, metadata={"description": doc}, **kwargs)


def string(doc: str, **kwargs: Any) -> Text:
    return Text(metadata={"description": doc}, **kwargs)


def flag(doc: str, **kwargs: Any) -> fields.Boolean:
    return fields.Boolean(truthy={True}, falsy={False}, metadata={"description": doc}, **kwargs)


def day(doc: str, **kwargs: Any) -> Day:
    return Day(metadata={"description": doc}, **kwargs)


def number(doc: str, **kwargs: Any) -> Number:
    return Number(metadata={"description": doc}, **kwargs)


def texts(doc: str, **kwargs: Any) -> fields.List[Any]:
    return fields.List(Text(**kwargs), metadata={"description": doc})


def many(schema: type[Schema], doc: str, **kwargs: Any) -> fields.List[Any]:
    return fields.List(fields.Nested(schema), metadata={"description": doc}, **kwargs)


class ChoiceSchema(Schema):
    label = string("What people read.", required=True)
    blinded = string("What a blinded role reads instead.")
    restricted = flag("A choice that blinded roles never see.", load_default=False)


def choices(doc: str) -> fields.Dict:
    return fields.Dict(keys=fields.Integer(strict=True), values=Choice(), metadata={"description": doc}, validate=validate.Length(min=1))


# --- protocol.yaml ---------------------------------------------------------------------------------------------------


class GuidanceSchema(Schema):
    id = string("Identifier of the guidance.", required=True)
    status = string("draft or final.", validate=one_of(("draft", "final")))


class TargetSchema(Schema):
    participants = whole("How many participants are to be randomised.", required=True, validate=validate.Range(min=1))
    months = whole("Over how many months.", required=True, validate=validate.Range(min=1))


class TrialSchema(Schema):
    id = string("Identifier in addresses and commands; the folder usually has the same name.", required=True, validate=TRIAL_ID)
    short_title = string("Short title or acronym.", required=True)
    title = string("Full title.", required=True)
    version = string("Version of the protocol, in quotes.", required=True)
    study_type = string("Decides which approval rules apply.", required=True, validate=one_of(("non-ctimp", "ctimp", "device")))
    origin = string(
        "prospective, or historical for a finished trial taken over: its acts are recorded and not gated.",
        load_default="prospective",
        validate=one_of(("prospective", "historical")),
    )
    pathway = string(
        "primary (prevent), secondary (treat) or none.", load_default="none", validate=one_of(("primary", "secondary", "none"))
    )
    identity = string("Where identities are kept.", load_default="site-held", validate=one_of(("vault", "site-held")))
    guidance = fields.Nested(GuidanceSchema, metadata={"description": "Guidance that the trial answers to."})
    target = fields.Nested(TargetSchema, required=True, metadata={"description": "Recruitment target."})


class ParameterSchema(Schema):
    value = number("The number.", required=True)
    source = string("Where it comes from: regulation, guidance or sponsor policy.")


class ArmSchema(Schema):
    code = whole("Code in exports.", required=True, validate=validate.Range(min=0, max=32000))
    name = string("Short name.", required=True, validate=validate.Regexp(r"^[^|]+\Z", error="must not contain |"))
    label = string("Full name.", required=True)
    ratio = whole("Share of the allocation.", load_default=1, validate=validate.Range(min=1, max=20))
    closed = flag("No longer allocated; kept for those who were.", load_default=False)


class SiteSchema(Schema):
    code = string("Site code.", required=True, validate=SITE_CODE)
    name = string("Name of the site.", required=True)
    nation = string("ENG, WAL, SCO or NIR.", required=True, validate=one_of(NATIONS))
    target = whole("Participants expected.", load_default=0, validate=validate.Range(min=0))
    attributes = fields.Dict(
        keys=Text(validate=NAME),
        values=Text(validate=LEVEL),
        load_default=dict,
        metadata={"description": "What the site is like (size: large), for schemes that allocate sites."},
    )


class FactorSchema(Schema):
    name = string("Name of the factor; `site` is built in and takes no form.", required=True, validate=NAME)
    form = string("Form that holds the item.", validate=FORM_CODE)
    visit = string("Visit at which it is answered.", validate=VISIT_CODE)
    item = string("A code or yes/no item, or a calculated one with codes.", validate=NAME)
    levels = fields.List(
        Text(validate=LEVEL),
        metadata={"description": "Levels in order, where sites are allocated: the factor is an attribute of sites then."},
        validate=validate.Length(min=2),
    )
    weight = whole("Weight in minimisation.", load_default=1, validate=validate.Range(min=1, max=1000))


def _wholes(description: str, least: int, most: int) -> fields.List:
    return fields.List(
        fields.Integer(strict=True, validate=validate.Range(min=least, max=most)),
        metadata={"description": description},
        validate=validate.Length(min=1),
    )


def _parameter(description: str, least: int = 0, most: int = 1000) -> fields.Integer:
    return whole(description, validate=validate.Range(min=least, max=most))


_PARAMETERS: dict[str, fields.Field] = {
    "imbalance": string("Measure of imbalance in minimisation.", validate=one_of(IMBALANCE)),
    "p": string('Probability of the favoured arm (or of the arm behind), as a fraction in quotes: "4/5".'),
    "q": string('Minimisation that ranks all arms: Pocock and Simon\'s q, as a fraction in quotes: "1/2".'),
    "p_ranks": fields.List(
        Text(),
        metadata={"description": "Minimisation that ranks all arms: the probability of each rank, as fractions in quotes."},
        validate=validate.Length(min=2),
    ),
    "burn_in": _parameter("First participants allocated without minimisation."),
    "overall": _parameter("Minimisation: weight of the balance of the arms in all, beside that at the levels.", 1),
    "strata": fields.List(
        Text(validate=NAME),
        metadata={"description": "Minimisation within strata: factors that are held constant."},
        validate=validate.Length(min=1),
    ),
    "counts": string(
        "Minimisation: whether a later correction of a factor, and an allocation in error, change the counts. As randomised: no.",
        validate=one_of(("as_randomised", "as_corrected")),
    ),
    "sizes": _wholes("Block sizes.", 1, 200),
    "size_weights": _wholes("How often each size is drawn.", 1, 1000),
    "mti": _parameter("Maximum tolerated imbalance: by how much the arms may differ.", 1),
    "w": _parameter("Wei's urn: balls of each arm at the start."),
    "alpha": _parameter("Wei's urn: balls of the drawn arm that each draw adds."),
    "beta": _parameter("Wei's urn: balls of every other arm that each draw adds."),
    "lambda": _parameter("Block urn: how many balanced sets of balls the urn holds.", 1),
    "n": _parameter("Maximal procedure: places in a run, after which the arms are balanced.", 2, 2000),
}


class _AllocationFields(Schema):
    scheme = string("Name of the scheme.", load_default="main", validate=NAME)
    method = string("How participants are allocated.", required=True, validate=one_of(METHODS))
    unit = string("Who is allocated: each participant, or each site.", load_default="participant", validate=one_of(("participant", "site")))
    baseline = string("Visit of which all required forms must be complete before randomisation.", validate=VISIT_CODE)
    factors = many(FactorSchema, "Factors in fixed order.", load_default=list)
    fallback_sizes = _wholes("Block sizes of the envelopes for a time when the system is away; hidden as all block sizes are.", 1, 200)


AllocationSchema = _AllocationFields.from_dict(_PARAMETERS, name="AllocationSchema")


class ReadySchema(Schema):
    form = string("Form that holds the item.", required=True, validate=FORM_CODE)
    visit = string("Visit at which it is answered.", required=True, validate=VISIT_CODE)
    item = string("A yes/no item: yes makes the participant ready.", required=True, validate=NAME)


class _LaterFields(_AllocationFields):
    scheme = string("Name of the scheme.", required=True, validate=NAME)
    after = string("Scheme by which the participant must have been randomised before.", required=True, validate=NAME)
    arms = many(ArmSchema, "Arms of this scheme in fixed order.", required=True, validate=validate.Length(min=2))
    ready = fields.Nested(ReadySchema, metadata={"description": "The answer that makes a participant ready for this randomisation."})


LaterAllocationSchema = _LaterFields.from_dict(_PARAMETERS, name="LaterAllocationSchema")


class _VariantFields(Schema):
    method = string("How participants would be allocated.", required=True, validate=one_of(METHODS))
    factors = fields.List(Text(), metadata={"description": "Which factors of the scheme are kept; all where left out."})


VariantSchema = _VariantFields.from_dict(_PARAMETERS, name="VariantSchema")


class AssumptionsSchema(Schema):
    sites = fields.Dict(values=Number(validate=validate.Range(min=0)), metadata={"description": "Share of each site."})
    factors = fields.Dict(
        values=fields.Dict(values=Number(validate=validate.Range(min=0))),
        metadata={"description": "Share of each level, by factor."},
    )
    slots = whole("Places of a list in each stratum.", validate=validate.Range(min=0, max=1_000_000))


class VisitSchema(Schema):
    code = string("Visit code.", required=True, validate=VISIT_CODE)
    number = whole("Order of visits; rules compare it as visit_no.", required=True, validate=validate.Range(min=0, max=99))
    label = string("Name of the visit.", required=True)
    kind = string(
        "scheduled (with a window), event (once) or repeating.",
        required=True,
        validate=one_of(("scheduled", "event", "repeating")),
    )
    anchor = string("Context fact (a date) from which the target day counts.", validate=NAME)
    fallback = string("Used while the anchor has no date.", validate=NAME)
    target = whole("Days after the anchor.")
    before = whole("Days before the target that are in window.", load_default=0, validate=validate.Range(min=0))
    after = whole("Days after the target that are in window.", load_default=0, validate=validate.Range(min=0))
    mode = string("How it usually happens: clinic, ward, remote ..")
    blinded_assessor = flag("Outcomes are assessed by somebody blinded.", load_default=False)


class FactSchema(Schema):
    name = string("Name by which expressions use it.", required=True, validate=NAME)
    form = string("Form that holds it.", required=True, validate=FORM_CODE)
    visit = string("Visit at which it is answered.", required=True, validate=VISIT_CODE)
    item = string("The item.", required=True, validate=NAME)


class TableSchema(Schema):
    id = string("Version of the table.", required=True)
    source = string("Where it comes from.")
    values = fields.Dict(keys=Number(), values=fields.Raw(), required=True, metadata={"description": "Key to value; values in quotes."})


class InstrumentSchema(Schema):
    id = string("Identifier of the questionnaire.", required=True)
    form = string("Form that holds it.", required=True, validate=FORM_CODE)
    wording = string("shipped, external (loaded under a licence) or none.", required=True, validate=one_of(("shipped", "external", "none")))
    licence = string("Who permits its use, and how.", required=True)
    scoring = string("How it is scored.")


class UnblindingSchema(Schema):
    participant_after = string("Visit after which participants are told their allocation.", required=True, validate=VISIT_CODE)


class SampleSchema(Schema):
    forms = fields.List(Text(validate=FORM_CODE), load_default=list, metadata={"description": "Forms; all of them where none is named."})
    visits = fields.List(Text(validate=VISIT_CODE), load_default=list, metadata={"description": "Visits; all of them where none is named."})
    items = fields.List(Text(validate=NAME), load_default=list, metadata={"description": "Items of the one form that is named; else all."})
    first = whole("The first so many participants of each site.", load_default=0, validate=validate.Range(min=0))
    percent = whole("A random part of the participants, in per cent.", load_default=0, validate=validate.Range(min=0, max=100))
    source = string("Where the rule comes from, such as the monitoring plan.", required=True)


class ExpectedEventsSchema(Schema):
    id = string("Identifier of the list.", required=True, validate=validate.Length(max=24))
    version = string("Version, in quotes.", required=True, validate=validate.Length(max=12))
    since = day("Day from which judgements are made against this version.", required=True, data_key="from")
    source = string("Where it comes from, and who approved it.")
    expected = fields.List(
        Text(), required=True, metadata={"description": "Events that are expected, in words."}, validate=validate.Length(min=1)
    )
    not_expected = fields.List(
        Text(), load_default=list, attribute="unexpected", metadata={"description": "Events that are named as not expected."}
    )


class TermSchema(Schema):
    code = string("Code, stored in the event.", required=True, validate=validate.Length(max=12))
    term = string("The term.", required=True)
    up = string("The broader term.", load_default="")


class ProtocolSchema(Schema):
    """protocols/TRIAL/protocol.yaml"""

    trial = fields.Nested(TrialSchema, required=True, metadata={"description": "What the trial is."})
    params = fields.Dict(
        keys=Text(validate=NAME),
        values=fields.Nested(ParameterSchema),
        load_default=dict,
        metadata={"description": "Numbers that rules and checks use, each with its source."},
    )
    arms = many(ArmSchema, "Arms in fixed order; left out in the treatment pathway.", load_default=list, validate=validate.Length(min=2))
    sites = many(SiteSchema, "Sites.", required=True, validate=validate.Length(min=1))
    allocation = fields.Nested(
        AllocationSchema, metadata={"description": "How participants are allocated; left out in the treatment pathway."}
    )
    later_allocations = many(
        LaterAllocationSchema, "Further randomisations of the same participants, each with its own scheme and arms.", load_default=list
    )
    visits = many(VisitSchema, "Visits.", required=True, validate=validate.Length(min=1))
    context = many(
        FactSchema,
        "Facts from one form that rules of other forms may name; one from a restricted item only in restricted places, unless the item "
        "tells nothing about the allocation (`unblinds`). Never the allocation itself.",
        load_default=list,
    )
    primary_outcome = many(
        FactSchema,
        "Answers without which nobody has the primary outcome, all of them: whoever has them counts as analysed in the participant flow.",
        load_default=list,
    )
    verification = many(
        SampleSchema,
        "What the monitor compares with the source: everything that one of these rules names. Without first and percent, of everybody.",
        load_default=list,
    )
    expected_events = many(
        ExpectedEventsSchema,
        "Versions of the list of expected events; the judgement of expectedness keeps the one in force on its day.",
        load_default=list,
    )
    event_terms = many(
        TermSchema,
        "The trial's own terms by which events are coded, beside a dictionary that is loaded under a licence.",
        load_default=list,
    )
    tables = fields.Dict(
        keys=Text(validate=NAME),
        values=fields.Nested(TableSchema),
        load_default=dict,
        metadata={"description": "Look-up tables."},
    )
    instruments = many(InstrumentSchema, "Questionnaires and their licences.", load_default=list)
    unblinding = fields.Nested(UnblindingSchema, metadata={"description": "Planned unblinding of participants, where there is any."})


# --- forms/*.yaml ----------------------------------------------------------------------------------------------------


class ItemSchema(Schema):
    section = string("Starts a section with this heading (stands alone).")
    name = string("Name of the item, unique in the trial.", validate=NAME)
    label = string("The question.")
    help = string("A hint below the question.")
    type = string("Type of the answer.", validate=one_of((*TYPES, "calc")))
    unit = string("Unit, shown beside the field.")
    min = number("Smallest value that is accepted.")
    max = number("Largest value that is accepted.")
    soft_min = number("Below this the value must be confirmed.")
    soft_max = number("Above this the value must be confirmed.")
    decimals = whole("Decimal places of a dec.", validate=validate.Range(min=0, max=6))
    length = whole("Most characters of a text.", validate=validate.Range(min=1, max=32000))
    lines = whole("Height of a text field in lines.", validate=validate.Range(min=1, max=40))
    codelist = string("Codelist of a code, multi or calculated item.")
    codes = choices("Choices written here instead of in codelists.yaml.")
    source = string("Register that gives the choices.", validate=one_of(REGISTERS))
    required = flag("Whether it must be answered (or given a missing reason) whenever it is shown.", load_default=True)
    show_if = string("Condition under which it is asked.")
    value = string("Expression of a calculated item.")
    result = string("Type of a calculated item.", validate=one_of(TYPES))
    restricted = flag("Blinded roles never see it.", load_default=False)
    unblinds = flag(
        "Set to false on a restricted item (or an item of a restricted form) that tells nothing about the allocation, such as the side "
        "operated on: rules of open forms may then name it as a context fact. Its own condition and calculation may then name open "
        "values only. Day of the operation, whether it took place and copies of the factors need no such word.",
    )
    export = flag("Whether it is exported.", load_default=True)
    scan = flag("Free text that is scanned for identifiers.", load_default=False)
    system = string("Filled by the system.")
    means = string("What the answer means to the system, beyond the form.", validate=one_of(MEANINGS))
    passes = whole("The answer with which an eligibility criterion is met.")
    by = fields.List(
        Text(validate=one_of(roles.ROLES)),
        metadata={
            "description": "Roles that alone give or change the answer. Whoever holds one of them may open the form for it, once somebody "
            "has begun the form; where it is left out, whoever enters the form answers."
        },
        validate=validate.Length(min=1),
    )


class CheckSchema(Schema):
    id = string(
        "Identifier, such as PAIN-01.",
        required=True,
        validate=validate.Regexp(r"^[A-Z0-9]+-[0-9]{2,3}\Z", error="must be like PAIN-01"),
    )
    severity = string("hard refuses, soft asks for confirmation, alert tells.", required=True, validate=one_of(("hard", "soft", "alert")))
    when = string("Fires when this is true.", required=True)
    items = fields.List(Text(validate=NAME), required=True, validate=validate.Length(min=1), metadata={"description": "Where it is shown."})
    message = string("What is wrong, and the mend.", required=True)
    notify = fields.List(Text(validate=one_of(roles.ROLES)), load_default=list, metadata={"description": "Roles that an alert reaches."})
    deviation = whole("Type of the deviation that it opens.")
    deviation_class = whole("Class of that deviation: 1 minor (where left out), 2 major.", data_key="class", validate=one_of((1, 2)))
    rule = string("Governance rule that it belongs to.", validate=validate.Regexp(r"^GOV-[0-9]{2}\Z", error="must be like GOV-08"))


class FormSchema(Schema):
    """protocols/TRIAL/forms/FORM.yaml"""

    form = string("Code of the form.", required=True, validate=FORM_CODE)
    title = string("Title.", required=True)
    kind = string("Decides who may enter it.", required=True, validate=one_of(FORM_KINDS))
    visits = fields.Dict(
        keys=Text(validate=VISIT_CODE),
        values=Text(validate=one_of(("required", "optional", "event"))),
        required=True,
        metadata={"description": "Visits at which it is required, optional or event-driven."},
    )
    repeating = flag("Any number of rows, each saved by itself.", load_default=False)
    double_entry = flag("Two people enter it, neither seeing the other's entry; a third one settles what differs.", load_default=False)
    restricted = flag("Blinded roles never see the form.", load_default=False)
    restricted_when = string("Blinded roles never see rows for which this is true; reads the answers of the row and nothing else.")
    applies_if = string("Condition over context facts: a participant for whom it is false is not expected to have the form.")
    instrument = string("Questionnaire that the form holds.")
    introduction = string("Shown above the form.")
    previous = flag("The answers of the participant's latest earlier visit can be read beside the questions.", load_default=False)
    items = many(ItemSchema, "Questions in order; an entry with only `section` starts a section.", required=True)
    summary = many(ItemSchema, "Calculated over all rows of a visit.", load_default=list)
    checks = many(CheckSchema, "Edit checks.", load_default=list)


# --- derivations.yaml ------------------------------------------------------------------------------------------------


class DerivationSchema(Schema):
    name = string("Name, unique among all items; its column in exports.", required=True, validate=NAME)
    label = string("What it is.", required=True)
    type = string("Type of the value.", required=True, validate=one_of(("int", "dec", "yn", "code", "date")))
    unit = string("Unit of a number.")
    decimals = whole("Decimal places of a dec.", validate=validate.Range(min=0, max=6))
    codelist = string("Codelist of a code.")
    codes = choices("Choices written here instead of in codelists.yaml.")
    per = string("One value for each participant, or for each of their visits.", required=True, validate=one_of(("participant", "visit")))
    applies_if = string("Condition under which there is a value; elsewhere it is missing.")
    value = string(
        'Expression. It names derived items, context facts, and answers: `at("V07", PAIN.rlp_any)` at a visit; in a value per visit '
        "`PAIN.rlp_any` is the answer of that visit. Of a form with rows its summary can be read. Over rows, the day that is taken.",
    )
    over = string(
        "Goes over all rows of this form, at any visit (in a value per visit: at that one), or over all `visits`. Its expressions then "
        "name items of the row, or what a value per visit may name.",
    )
    take = string(
        "What is taken over the rows: whether there is any, their count, or the earliest or latest day of `value`. It is missing where a "
        "row that is not known could change it.",
        validate=one_of(TAKES),
    )
    where = string("Which rows count; all of them where it is left out.")
    meaning = string("How it comes about, in a sentence that people read beside the value.", required=True)
    source = string("Where the rule comes from, such as the analysis plan.", required=True)


class DerivationsSchema(Schema):
    """protocols/TRIAL/derivations.yaml"""

    derivations = many(
        DerivationSchema,
        "What is calculated for the analysis over several forms, and never stored. Whether blinded roles may see it follows from what it "
        "reads: one restricted answer anywhere behind it, or the allocation, hides it.",
        required=True,
    )


# --- ethics ----------------------------------------------------------------------------------------------------------


class ConditionSchema(Schema):
    text = string("The condition.", required=True)
    pre_start = flag("Must be met before the start.", load_default=False)
    met_on = day("Day on which it was met.")
    evidence = string("Evidence.")


class ApprovalSchema(Schema):
    body = string("Who decided.", required=True, validate=one_of(ethics.BODIES))
    status = string("What was decided.", required=True)
    ref = string("Reference.")
    nations = fields.List(Text(validate=one_of(NATIONS)), metadata={"description": "Nations covered; all where left out."})
    site = string("Site, for site decisions.", validate=SITE_CODE)
    submitted_on = day("Submitted.")
    valid_on = day("Found valid.")
    decided_on = day("Decided.")
    effective_from = day("First day in force; the day of the decision where left out.")
    effective_to = day("Last day in force.")
    agreement_signed_on = day("Agreement signed, for capacity and capability.")
    conditions = many(ConditionSchema, "Conditions.", load_default=list)
    supersedes = string("Reference of the decision of the same body that this one replaces.")
    covers = fields.List(
        Text(validate=one_of(ethics.COVERS)), load_default=list, metadata={"description": "What an ethics opinion covers beyond the usual."}
    )
    letter = string("File of the letter, below the ethics folder.")
    sha256 = string("SHA-256 of the letter, to be compared with the file.", validate=DIGEST)
    recorded_by = string("Who recorded it.", load_default="")
    second_check_by = string("Who checked it.", load_default="")


class ApprovalsSchema(Schema):
    """ethics/TRIAL/approvals.yaml"""

    trial = string("Identifier of the trial.", required=True, validate=TRIAL_ID)
    approvals = many(ApprovalSchema, "Decisions, oldest first.", required=True)


class DocumentSchema(Schema):
    kind = string("Kind of document.", required=True, validate=one_of(ethics.DOCUMENT_KINDS))
    code = whole("Code stored in consent forms; unique within the kind.", required=True, validate=validate.Range(min=1))
    version = string("Version, in quotes.", required=True, validate=validate.Regexp(r"^v?\d+\.\d+\Z", error='must be like "1.0"'))
    dated = day("Date on the document.", required=True)
    approved_on = day("Approved by the ethics committee.")
    effective_from = day("First day of use.", required=True)
    superseded_on = day("Day from which a newer version is used.")
    revoked_on = day("Day from which it may not be used any more, anywhere.")
    modification = string("Reference of the modification that it came with.")
    reconsent = string(
        "Those who consented on an earlier version consent again: warn or block until they have.", validate=one_of(("warn", "block"))
    )
    file = string("File of the document, below the ethics folder.")
    sha256 = string("SHA-256 of the file, to be compared.", validate=DIGEST)
    nations = fields.List(Text(validate=one_of(NATIONS)), metadata={"description": "Nations; all where left out."})
    sites = fields.Dict(
        keys=Text(validate=SITE_CODE), values=Day(), load_default=dict, metadata={"description": "Sites that take it up later."}
    )


class DocumentsSchema(Schema):
    """ethics/TRIAL/documents.yaml"""

    trial = string("Identifier of the trial.", required=True, validate=TRIAL_ID)
    documents = many(DocumentSchema, "Versions of documents.", required=True)


# --- people ----------------------------------------------------------------------------------------------------------


class TrainingSchema(Schema):
    kind = string("gcp, protocol or system.", required=True, validate=one_of(("gcp", "protocol", "system")))
    date = day("Day of the training.", required=True, attribute="on")
    valid_to = day("Last day of validity (sponsor policy).")


class DelegationSchema(Schema):
    tasks = fields.List(Text(validate=one_of(roles.TASKS)), required=True, metadata={"description": "Tasks."})
    site = string("Site; all sites where left out.", validate=SITE_CODE)
    start = day("First day.", required=True)
    end = day("Last day.")
    signed_by_pi = flag("Countersigned by the principal investigator.", load_default=False)


class CredentialSchema(Schema):
    surgeon = whole("Number of the surgeon in forms.", required=True, validate=validate.Range(min=1))
    site = string("Site.", required=True, validate=SITE_CODE)
    valid_from = day("First day.", required=True)
    valid_to = day("Last day.")
    cases = whole("Supervised cases so far.", required=True, validate=validate.Range(min=0))


class RoleSchema(Schema):
    role = string("Role.", required=True, validate=one_of(roles.ROLES))
    site = string("Site, for site roles.", validate=SITE_CODE)


class PersonSchema(Schema):
    email = string("E-mail address: the sign-in name.", required=True, validate=validate.Email(error="must be an e-mail address"))
    name = string("Name.", required=True)
    roles = many(RoleSchema, "Roles in this trial.", load_default=list)
    delegations = many(DelegationSchema, "Lines of the delegation log.", load_default=list)
    trainings = many(TrainingSchema, "Training.", load_default=list)
    credential = fields.Nested(CredentialSchema, metadata={"description": "Surgeon's credential."})


class PeopleSchema(Schema):
    """A people file for `trialdm people load`"""

    trial = string("Identifier of the trial.", required=True, validate=TRIAL_ID)
    people = many(PersonSchema, "People.", required=True)


# --- historical data -------------------------------------------------------------------------------------------------


class ColumnSchema(Schema):
    column = string("Column of the file.", required=True)
    visit = string("Visit.", required=True, validate=VISIT_CODE)
    form = string("Form.", required=True, validate=FORM_CODE)
    item = string("Item.", required=True, validate=NAME)


class FileSchema(Schema):
    name = string("Name of the file.", required=True)
    rows = whole("Number of participants in it.", required=True, validate=validate.Range(min=1))


class ArmColumnSchema(Schema):
    column = string("Column that holds the arm's code.", required=True)


class SourceSchema(Schema):
    """protocols/TRIAL/source.yaml: where the columns of a finished trial's file belong"""

    file = fields.Nested(FileSchema, required=True, metadata={"description": "The file."})
    arm = fields.Nested(ArmColumnSchema, required=True, metadata={"description": "The allocation."})
    columns = many(ColumnSchema, "All other columns.", required=True)
