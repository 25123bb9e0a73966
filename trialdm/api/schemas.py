"""What the API reads and gives, as marshmallow schemas. Unknown fields are refused."""

from marshmallow import Schema, fields, validate

from trialdm.domain import ethics, lifecycle, query, safety
from trialdm.domain.ethics import modifications, reconsent
from trialdm.domain.protocol import NATIONS
from trialdm.domain.roles import TASKS
from trialdm.domain.schedule import STANDINGS
from trialdm.domain.screening import OUTCOMES
from trialdm.services import delegations, derivations, double_entry, holds, packages, unblinding
from trialdm.services.trail import FILES, REVIEWS

_DAY = "A day, such as 2026-03-01."


class SchemeQuery(Schema):
    scheme = fields.String(load_default="", metadata={"description": "A later randomisation; the trial's first one where left out."})


class GateQuery(Schema):
    action = fields.String(required=True, validate=validate.OneOf(tuple(ethics.ACTIONS)))
    site = fields.String(load_default="", validate=validate.Length(max=8))
    on = fields.Date(load_default=None, metadata={"description": _DAY})
    participant = fields.String(load_default="", validate=validate.Length(max=20))


class Reason(Schema):
    rule = fields.String()
    severity = fields.String(validate=validate.OneOf(("block", "warn", "clock")))
    message = fields.String()
    needs = fields.String()


class GateAnswer(Schema):
    allowed = fields.Boolean()
    action = fields.String()
    on = fields.String()
    reasons = fields.List(fields.Nested(Reason))
    not_evaluated = fields.List(fields.String())


class Page(Schema):
    page = fields.Integer(load_default=1, validate=validate.Range(min=1, max=1_000_000))
    per_page = fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))


class CourseQuery(Schema):
    site = fields.String(load_default="", validate=validate.Length(max=8), metadata={"description": "The trial where left out."})


class NewStep(CourseQuery):
    event = fields.String(required=True, validate=validate.Length(max=30))
    reason = fields.String(load_default="", validate=validate.Length(max=2000))


class DelegationQuery(Schema):
    site = fields.String(load_default="", validate=validate.Length(max=8))
    on = fields.Date(load_default=None, metadata={"description": _DAY})


class DelegationAct(Schema):
    act = fields.String(validate=validate.OneOf(("sign", "countersign", "decline", "end")))
    day = fields.String(metadata={"description": "The day from which it holds."})
    by = fields.String()
    reason = fields.String()


class Delegation(Schema):
    """A line of the delegation log, with its state on the day that was asked for."""

    id = fields.String()
    person = fields.String(metadata={"description": "E-mail address."})
    name = fields.String()
    roles = fields.List(fields.String())
    site = fields.String(metadata={"description": "Empty for the whole trial."})
    tasks = fields.List(fields.String(validate=validate.OneOf(tuple(TASKS))))
    state = fields.String(validate=validate.OneOf(tuple(delegations.STATES)))
    paper = fields.Boolean(metadata={"description": "Taken over from the log on paper."})
    proposed_by = fields.String()
    acts = fields.List(fields.Nested(DelegationAct))
    to = fields.String(allow_none=True, metadata={"description": "Last day."})

    class Meta:
        include = {"from": fields.String(metadata={"description": "First day."})}


class WhoQuery(Schema):
    task = fields.String(required=True, validate=validate.OneOf(tuple(TASKS)))
    site = fields.String(required=True, validate=validate.Length(min=2, max=8))
    on = fields.Date(load_default=None, metadata={"description": _DAY})


class Able(Schema):
    """Somebody whom the log let do a task, and whether training and credential did so too."""

    person = fields.String(metadata={"description": "E-mail address."})
    name = fields.String()
    allowed = fields.Boolean()
    why = fields.List(fields.String(), metadata={"description": "What kept them from it."})
    lines = fields.List(fields.String())


class File(Schema):
    """A file that is kept with what is recorded."""

    name = fields.String(required=True, validate=validate.Length(min=1, max=200))
    content = fields.String(required=True, metadata={"description": "In Base64."})
    sha256 = fields.String(
        load_default="", validate=validate.Length(max=80), metadata={"description": "Digest, as its sender gave it: the file must match."}
    )


class NewCondition(Schema):
    text = fields.String(required=True, validate=validate.Length(min=1, max=1000))
    pre_start = fields.Boolean(load_default=False, metadata={"description": "Must be met before the start."})


class NewApproval(Schema):
    """A decision, as its letter says it."""

    body = fields.String(required=True, validate=validate.OneOf(tuple(ethics.BODIES)))
    status = fields.String(required=True, validate=validate.Length(max=40))
    ref = fields.String(load_default="", validate=validate.Length(max=100))
    nations = fields.List(fields.String(validate=validate.OneOf(tuple(NATIONS))), load_default=list)
    site = fields.String(load_default="", validate=validate.Length(max=8))
    submitted_on = fields.Date(load_default=None)
    valid_on = fields.Date(load_default=None)
    decided_on = fields.Date(load_default=None, metadata={"description": "The day on the letter."})
    effective_from = fields.Date(load_default=None)
    effective_to = fields.Date(load_default=None)
    agreement_signed_on = fields.Date(load_default=None)
    conditions = fields.List(fields.Nested(NewCondition), load_default=list)
    supersedes = fields.String(load_default="", validate=validate.Length(max=100))
    covers = fields.List(fields.String(validate=validate.OneOf(tuple(ethics.COVERS))), load_default=list)
    letter = fields.Nested(File, load_default=None)


class Condition(NewCondition):
    number = fields.Integer(metadata={"description": "From 1."})
    met_on = fields.String(allow_none=True)
    evidence = fields.String()


class Approval(Schema):
    """A decision on record."""

    number = fields.Integer(metadata={"description": "Its number in the register."})
    body = fields.String(validate=validate.OneOf(tuple(ethics.BODIES)))
    status = fields.String()
    ref = fields.String()
    site = fields.String()
    nations = fields.List(fields.String())
    submitted_on = fields.String(allow_none=True)
    decided_on = fields.String(allow_none=True)
    to = fields.String(allow_none=True, metadata={"description": "Last day."})
    agreement_signed_on = fields.String(allow_none=True)
    conditions = fields.List(fields.Nested(Condition))
    supersedes = fields.String()
    covers = fields.List(fields.String())
    letter = fields.String()
    sha256 = fields.String()
    recorded_by = fields.String()
    checked_by = fields.String()
    waits_for_check = fields.Boolean()

    class Meta:
        include = {"from": fields.String(allow_none=True, metadata={"description": "First day."})}


class Standing(Schema):
    """A body or a kind of document on a day, for the trial or at a site."""

    body = fields.String()
    site = fields.String()
    status = fields.String()
    in_force = fields.Boolean()
    ref = fields.String()
    to = fields.String(allow_none=True)

    class Meta:
        include = {"from": fields.String(allow_none=True)}


class MetCondition(Schema):
    met_on = fields.Date(required=True)
    evidence = fields.String(load_default="", validate=validate.Length(max=1000))
    letter = fields.Nested(File, load_default=None)


class NewDocument(Schema):
    kind = fields.String(required=True, validate=validate.OneOf(ethics.DOCUMENT_KINDS))
    version = fields.String(required=True, metadata={"description": "Two numbers, such as 2.0."})
    dated = fields.Date(required=True)
    approved_on = fields.Date(load_default=None, metadata={"description": "Where it did not come with a modification."})
    effective_from = fields.Date(required=True, metadata={"description": "First day at any site."})
    nations = fields.List(fields.String(validate=validate.OneOf(tuple(NATIONS))), load_default=list)
    modification = fields.String(load_default="", validate=validate.Length(max=40))
    reconsent = fields.String(load_default="", validate=validate.OneOf(("", "warn", "block")))
    file = fields.Nested(File, load_default=None)


class DocumentVersion(Schema):
    """A version of a document."""

    kind = fields.String()
    code = fields.Integer(metadata={"description": "Its code in consent forms."})
    version = fields.String()
    dated = fields.String()
    approved_on = fields.String(allow_none=True)
    modification = fields.String()
    reconsent = fields.String()
    revoked_on = fields.String(allow_none=True)
    file = fields.String()
    sha256 = fields.String()
    sites = fields.Dict(keys=fields.String(), values=fields.String(allow_none=True), metadata={"description": "Site to its first day."})

    class Meta:
        include = {"from": fields.String(metadata={"description": "First day at any site."})}


class TakeUp(Schema):
    site = fields.String(required=True, validate=validate.Length(min=2, max=8))
    on = fields.Date(required=True)


class Revocation(Schema):
    on = fields.Date(required=True)
    reason = fields.String(required=True, validate=validate.Length(max=1000))


class NamedDocument(Schema):
    kind = fields.String(required=True, validate=validate.OneOf(ethics.DOCUMENT_KINDS))
    code = fields.Integer(required=True, strict=True)


class NewModification(Schema):
    ref = fields.String(required=True, validate=validate.Length(max=40))
    title = fields.String(required=True, validate=validate.Length(max=300))
    changes = fields.List(fields.String(validate=validate.OneOf(tuple(modifications.CHANGES))), required=True)
    class_ = fields.String(required=True, data_key="class", validate=validate.OneOf(tuple(modifications.CLASSES)))
    category = fields.String(required=True, validate=validate.OneOf(tuple(modifications.CATEGORIES)))
    legacy_class = fields.String(load_default="", validate=validate.OneOf(("", *modifications.LEGACY_CLASSES)))
    justification = fields.String(load_default="", validate=validate.Length(max=1000))
    version = fields.String(load_default="", metadata={"description": "Version of the protocol that comes with it."})
    documents = fields.List(fields.Nested(NamedDocument), load_default=list)
    tool = fields.Nested(File, load_default=None, metadata={"description": "Output of the Modification Tool."})


class ModificationStep(Schema):
    event = fields.String(required=True, validate=validate.OneOf((*modifications.STEPS, *modifications.SITE_STEPS)))
    on = fields.Date(required=True)
    site = fields.String(load_default="", validate=validate.Length(max=8))
    note = fields.String(load_default="", validate=validate.Length(max=1000))


class Modification(Schema):
    """A modification as it stands today."""

    ref = fields.String()
    title = fields.String()
    class_ = fields.String(attribute="class", data_key="class")
    legacy_class = fields.String()
    category = fields.String()
    changes = fields.List(fields.String())
    state = fields.String()
    approved = fields.Boolean(metadata={"description": "Whether it may be acted on as far as the committee goes."})
    version = fields.String()
    sites = fields.Dict(keys=fields.String(), values=fields.String(), metadata={"description": "Site to its state there."})


class GivenIdentity(Schema):
    """What the vault keeps; which of it is right is judged by `domain.identity`."""

    family_name = fields.String(required=True)
    given_name = fields.String(required=True)
    born = fields.String(required=True, metadata={"description": "Date of birth, such as 1948-03-27."})
    postcode = fields.String(required=True)
    nhs_number = fields.String(load_default="")
    no_nhs_number = fields.String(load_default="", metadata={"description": "Why there is no NHS number."})
    phone = fields.String(load_default="")


class Identity(GivenIdentity):
    participant = fields.String()


_DIFFERENT = {"description": "Why somebody of the same name and date of birth is another person."}


class NewIdentity(Schema):
    identity = fields.Nested(GivenIdentity, required=True)
    different = fields.String(load_default="", validate=validate.Length(max=300), metadata=_DIFFERENT)


class IdentityEntered(Schema):
    participant = fields.String()


class WhyIdentity(Schema):
    reason = fields.String(required=True, validate=validate.Length(max=300), metadata={"description": "Why, without a name."})


class IdentityShredded(Schema):
    participant = fields.String()
    shredded = fields.Boolean(metadata={"description": "False where a second person has yet to do it."})


class DuplicateQuestion(Schema):
    site = fields.String(required=True, validate=validate.Length(min=2, max=8))
    identity = fields.Nested(GivenIdentity, required=True)


class DuplicateAnswer(Schema):
    duplicate = fields.Boolean()


class NewIdentityRequest(WhyIdentity):
    participant = fields.String(required=True, validate=validate.Length(max=20))


class IdentityRequested(Schema):
    request = fields.String()


class IdentityDecision(WhyIdentity):
    confirm = fields.Boolean(required=True, truthy={True}, falsy={False})


class IdentityRequest(Schema):
    id = fields.String()
    participant = fields.String()
    site = fields.String()
    state = fields.String(validate=validate.OneOf(("asked", "confirmed", "declined", "opened", "ended")))
    asked_by = fields.String()
    asked_at = fields.String()
    reason = fields.String()
    mine = fields.Boolean()
    decides = fields.Boolean(metadata={"description": "Whether this person may decide it now."})


class NewParticipant(Schema):
    site = fields.String(required=True, validate=validate.Length(min=2, max=8))
    identity = fields.Nested(GivenIdentity, load_default=None, metadata={"description": "For trials with identity: vault."})
    later = fields.String(
        load_default="", validate=validate.Length(max=300), metadata={"description": "Why the identity is to follow, in place of it."}
    )
    different = fields.String(load_default="", validate=validate.Length(max=300), metadata=_DIFFERENT)


class NewTransfer(Schema):
    site = fields.String(required=True, metadata={"description": "The site that looks after the participant from now on."})
    day = fields.Date(required=True)
    reason = fields.String(required=True, validate=validate.Length(max=300))


class Participant(Schema):
    participant = fields.String()
    site = fields.String(metadata={"description": "The site that looks after the participant."})
    enrolled_site = fields.String(metadata={"description": "The site that enrolled the participant; the number counts there."})
    number = fields.Integer()
    state = fields.String()
    added_at = fields.String()


class Participants(Schema):
    items = fields.List(fields.Nested(Participant))
    total = fields.Integer()
    page = fields.Integer()
    per_page = fields.Integer()


class Allocation(Schema):
    participant = fields.String()
    number = fields.String()
    at = fields.String()
    arm = fields.String(metadata={"description": "Only for somebody who may see it."})


class SchemeStatus(Schema):
    """What everybody in the trial may know of a scheme: no arm, no count by arm, no setting."""

    scheme = fields.String()
    epoch = fields.Integer(metadata={"description": "0, and one more with each amendment."})
    world = fields.String(validate=validate.OneOf(("live", "test")))
    method = fields.String()
    state = fields.String()
    commit = fields.String(metadata={"description": "Hash of settings and master, fixed before the first participant."})
    contribution = fields.String()
    prepared_by = fields.String()
    signed_by = fields.String(allow_none=True)
    escrowed = fields.Boolean()
    events = fields.Integer()
    places = fields.Integer()
    head = fields.String(metadata={"description": "The last hash of the chain of events."})
    public_key = fields.String(metadata={"description": "The key that signs heads."})


class AllocationStatus(SchemeStatus):
    trial = fields.String()
    later_schemes = fields.List(fields.Nested(SchemeStatus))


class FactorValues(Schema):
    """One answer that an allocation used, as codes; empty where nothing was corrected or verified."""

    scheme = fields.String()
    factor = fields.String()
    label = fields.String()
    randomised = fields.String()
    corrected = fields.String()
    verified = fields.String()
    differs = fields.Boolean(metadata={"description": "Whether a later value is another one than the allocation used."})


class NewUnblinding(Schema):
    reason = fields.String(required=True, validate=validate.Length(max=1000), metadata={"description": "Why the allocation is needed."})
    code = fields.Integer(
        load_default=1,
        validate=validate.OneOf(tuple(unblinding.EMERGENCIES)),
        metadata={"description": "1 emergency care, 2 assessment of a serious adverse event."},
    )
    drill = fields.Boolean(load_default=False, truthy={True}, falsy={False}, metadata={"description": "Practise it: no arm is shown."})


class Unblinded(Allocation):
    arm = fields.String(allow_none=True, metadata={"description": "Null in a drill."})
    label = fields.String(allow_none=True)
    drill = fields.Boolean()


class TheatreCheck(Schema):
    side = fields.Integer(required=True)
    limb = fields.Integer(required=True)
    level = fields.Integer(required=True)


class Notice(Schema):
    id = fields.String()
    trial = fields.String()
    kind = fields.String()
    subject = fields.String()
    text = fields.String()
    participant = fields.String()
    made_at = fields.String()
    read_at = fields.String(allow_none=True)


class Waiting(Schema):
    """Something that waits for the caller."""

    trial = fields.String()
    kind = fields.String(metadata={"description": "deadline, sign, countersign, check, confirm or expiry."})
    what = fields.String()
    site = fields.String()
    due = fields.Date(allow_none=True)
    late = fields.Boolean()
    about = fields.Dict(metadata={"description": "What names it: a line, the number of a decision, the key of a deadline."})


class Version(Schema):
    """One loaded version of a protocol."""

    seq = fields.Integer(metadata={"description": "Counts the versions that were loaded, from 1."})
    version = fields.String()
    state = fields.String(validate=validate.OneOf(("in_force", "in_use", "proposed", "replaced")))
    loaded_at = fields.String()
    loaded_by = fields.String()
    sites = fields.Dict(keys=fields.String(), values=fields.String(), metadata={"description": "Site to the day from which it uses it."})


class SiteQuery(Schema):
    """One site, or all that the caller sees."""

    site = fields.String(load_default="")


class VisitsQuery(SiteQuery):
    standing = fields.String(load_default="", validate=validate.OneOf(("", *STANDINGS)), metadata={"description": "One standing only."})


class ExpectedVisit(Schema):
    """A scheduled visit of a participant: the same schedule whatever was allocated."""

    participant = fields.String()
    site = fields.String()
    visit = fields.String()
    label = fields.String()
    opens = fields.String(metadata={"description": "First day of the window."})
    target = fields.String()
    closes = fields.String(metadata={"description": "Last day of the window."})
    standing = fields.String(validate=validate.OneOf(tuple(STANDINGS)))


class EnteredTwice(Schema):
    """A form that two people enter, and that has no version yet."""

    participant = fields.String()
    site = fields.String()
    visit = fields.String()
    form = fields.String()
    row = fields.Integer()
    next = fields.String(
        validate=validate.OneOf(tuple(double_entry.STEPS)), metadata={"description": "A second entry, or to settle what differs."}
    )
    entered_by = fields.List(fields.String())
    since = fields.String(metadata={"description": "Day of the last entry."})
    differ = fields.Integer(metadata={"description": "Answers in which two entries differ, of those that the caller may see."})
    yours = fields.Boolean(metadata={"description": "Whether the caller may take the next step."})


class Clock(Schema):
    """A deadline about safety with its light."""

    key = fields.String()
    rule = fields.String()
    title = fields.String()
    due = fields.String(metadata={"description": "A day, or a moment where hours count."})
    state = fields.String(validate=validate.OneOf(tuple(safety.LIGHTS)))
    light = fields.String(validate=validate.OneOf(sorted({colour for colour, _ in safety.LIGHTS.values()})))
    met_on = fields.String(allow_none=True)
    owners = fields.List(fields.String())
    site = fields.String()
    participant = fields.String()


class SeriousEvent(Schema):
    """A serious adverse event in words. It holds no arm and no narrative."""

    participant = fields.String()
    number = fields.Integer()
    site = fields.String()
    visit = fields.String()
    form = fields.String()
    age_band = fields.String(allow_none=True)
    event = fields.String(allow_none=True)
    code = fields.String(allow_none=True)
    started = fields.String(allow_none=True)
    ended = fields.String(allow_none=True)
    outcome = fields.String(allow_none=True)
    criteria = fields.String(allow_none=True)
    site_aware = fields.String(allow_none=True)
    reported_to_sponsor = fields.String(allow_none=True)
    relatedness_site = fields.String(allow_none=True)
    relatedness_sponsor = fields.String(allow_none=True)
    expectedness = fields.String(allow_none=True)
    judged_against = fields.String(allow_none=True)
    ci_aware = fields.String(allow_none=True)
    committee_told = fields.String(allow_none=True)
    state = fields.String(validate=validate.OneOf(tuple(safety.STATES)))
    clocks = fields.List(fields.Nested(Clock))


class AdverseEvent(Schema):
    """An adverse event in words."""

    participant = fields.String()
    number = fields.Integer()
    site = fields.String()
    age_band = fields.String(allow_none=True)
    event = fields.String(allow_none=True)
    code = fields.String(allow_none=True)
    special_interest = fields.String(allow_none=True)
    started = fields.String(allow_none=True)
    ended = fields.String(allow_none=True)
    severity = fields.String(allow_none=True)
    serious = fields.String(allow_none=True)
    outcome = fields.String(allow_none=True)


class ExpectedList(Schema):
    """A version of the list of expected events."""

    name = fields.String()
    in_force = fields.Boolean()
    expected = fields.List(fields.String())
    not_expected = fields.List(fields.String())
    source = fields.String()

    class Meta:
        include = {"from": fields.String(metadata={"description": "Day from which it is in force."})}


class Dictionary(Schema):
    name = fields.String()
    version = fields.String()
    terms = fields.Integer()


class NewDictionary(Schema):
    file = fields.String(required=True, metadata={"description": "Name of the file: llt.asc, pt.asc, or one that ends in .csv."})
    text = fields.String(required=True, metadata={"description": "The file."})
    name = fields.String(required=True, validate=validate.Length(min=1, max=60))
    version = fields.String(required=True, validate=validate.Length(min=1, max=20))


class LoadedTerms(Schema):
    name = fields.String()
    version = fields.String()
    new = fields.Integer(metadata={"description": "Terms that were not there before."})


class Term(Schema):
    code = fields.String()
    term = fields.String()
    up = fields.String(metadata={"description": "The broader term."})


class UncodedEvent(Schema):
    """An event without a code."""

    participant = fields.String()
    site = fields.String()
    visit = fields.String()
    form = fields.String()
    row = fields.Integer()
    version = fields.Integer()
    term = fields.String()
    suggestions = fields.List(fields.Nested(Term))


class NewCode(Schema):
    participant = fields.String(required=True)
    row = fields.Integer(required=True, validate=validate.Range(min=1))
    code = fields.String(required=True, validate=validate.Length(min=1, max=12))


class Screened(Schema):
    """A line of the screening log; `reasons` are the codes of the protocol's list."""

    number = fields.String()
    participant = fields.String()
    site = fields.String()
    screened_on = fields.String(allow_none=True)
    outcome = fields.String(validate=validate.OneOf(tuple(OUTCOMES)))
    reasons = fields.List(fields.Integer())


class Reconsent(Schema):
    """Consent that has to be given again after a change of the documents, or was; `from` is the version consented on before."""

    class Meta:
        include = {"from": fields.String(allow_none=True)}

    participant = fields.String()
    site = fields.String()
    kind = fields.String(validate=validate.OneOf(reconsent.CONSENTED_ON))
    to = fields.String(metadata={"description": "Version to consent on."})
    modification = fields.String(allow_none=True)
    why = fields.String(allow_none=True)
    since = fields.String(metadata={"description": "Day from which the site uses the version that asks."})
    urgency = fields.String(validate=validate.OneOf(tuple(reconsent.URGENCIES)))
    done = fields.String(allow_none=True)


class FormBody(Schema):
    """A form as it is saved: typed by the form's definition, not by this schema."""

    answers = fields.Dict(keys=fields.String(), values=fields.Raw(), required=True)
    missing = fields.Dict(keys=fields.String(), values=fields.String(), load_default=dict)
    complete = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    reason = fields.String(load_default="", validate=validate.Length(max=1000))
    confirm = fields.List(fields.String(), load_default=list)
    notes = fields.Dict(
        keys=fields.String(),
        values=fields.String(validate=validate.Length(max=500)),
        load_default=dict,
        metadata={"description": "Why answers that were asked about are right, by the id of the finding in `confirm`."},
    )
    definition = fields.Integer(
        strict=True, metadata={"description": "The `definition` of the form that was read: refused where the site works with another now."}
    )


class Signing(Schema):
    password = fields.String(
        required=True, load_only=True, validate=validate.Length(max=1000), metadata={"description": "The signer's own, typed again."}
    )


class Signature(Schema):
    name = fields.String()
    role = fields.String()
    meaning = fields.String()
    at = fields.AwareDateTime(format="iso")
    content = fields.String(metadata={"description": "SHA-256 of what was signed."})


class Verifying(Schema):
    items = fields.List(
        fields.String(),
        load_default=None,
        metadata={"description": "Items that were compared with the source; everything that the reader may read where left out."},
    )


class FormState(Schema):
    status = fields.String()


class Striking(Schema):
    reason = fields.String(required=True, validate=validate.Length(min=1, max=1000))


class HoldStep(Schema):
    scope = fields.String(required=True, validate=validate.OneOf(holds.SCOPES))
    id = fields.String(
        load_default="", validate=validate.Length(max=64), metadata={"description": "Site, participant or form; none for the trial."}
    )
    event = fields.String(required=True, validate=validate.OneOf(tuple(lifecycle.MACHINES["hold"])))
    reason = fields.String(load_default="", validate=validate.Length(max=2000))


class HoldState(Schema):
    scope = fields.String()
    name = fields.String()
    state = fields.String()


class Hold(HoldState):
    at = fields.AwareDateTime(format="iso")
    reason = fields.String()


class DerivedQuery(Schema):
    per = fields.String(load_default="participant", validate=validate.OneOf(tuple(derivations.KEYS)))
    as_of = fields.AwareDateTime(load_default=None, format="iso")


class NewExport(Schema):
    formats = fields.List(fields.String(validate=validate.OneOf(packages.FORMATS)), load_default=lambda: list(packages.FORMATS))
    blinding = fields.String(load_default="blinded", validate=validate.OneOf(packages.BLINDINGS))
    layout = fields.String(load_default="long", validate=validate.OneOf(packages.LAYOUTS))
    as_of = fields.AwareDateTime(load_default=None, format="iso")
    reason = fields.String(load_default="", validate=validate.Length(max=1000))


class NewImport(Schema):
    form = fields.String(required=True)
    text = fields.String(required=True, metadata={"description": "The CSV file."})
    reason = fields.String(load_default="", validate=validate.Length(max=900))
    dry_run = fields.Boolean(load_default=False, truthy={True}, falsy={False}, metadata={"description": "Only say what would happen."})


class ImportCell(Schema):
    row = fields.Integer(metadata={"description": "Line of the file; the header is line 1."})
    column = fields.String()
    value = fields.String()
    message = fields.String()


class ImportChange(Schema):
    row = fields.Integer()
    place = fields.String()
    item = fields.String()
    old = fields.String()
    new = fields.String()


class Imported(Schema):
    rows = fields.Integer()
    saved = fields.Integer()
    unchanged = fields.Integer()
    warnings = fields.List(fields.Nested(ImportCell), metadata={"description": "Soft checks that the import confirms."})
    errors = fields.List(fields.Nested(ImportCell))
    changes = fields.List(fields.Nested(ImportChange))


class Export(Schema):
    id = fields.String()
    state = fields.String()
    step = fields.String()
    message = fields.String()
    manifest_sha256 = fields.String()
    download = fields.String(allow_none=True)


class AuditQuery(Schema):
    participant = fields.String(load_default="", validate=validate.Length(max=20))
    user = fields.String(load_default="", validate=validate.Length(max=200))
    action = fields.String(load_default="", validate=validate.Length(max=60))
    field = fields.String(load_default="", validate=validate.Length(max=60))
    review = fields.String(load_default="", validate=validate.OneOf(["", *REVIEWS]))
    since = fields.AwareDateTime(load_default=None, format="iso")
    until = fields.AwareDateTime(load_default=None, format="iso")
    after = fields.Integer(
        load_default=0, validate=validate.Range(min=0, max=2**53), metadata={"description": "The last seq of the page before."}
    )


class AuditFile(Schema):
    kind = fields.String(load_default="jsonl", validate=validate.OneOf([*FILES, "proofs"]))


class QueryFilter(Page):
    state = fields.String(
        load_default="", metadata={"description": "A state, or waiting (for an answer), or unsettled (neither closed nor cancelled)."}
    )
    site = fields.String(load_default="", validate=validate.Length(max=8))
    form = fields.String(load_default="", validate=validate.Length(max=20))
    origin = fields.String(load_default="", validate=validate.OneOf(("", *query.ORIGINS)))
    band = fields.String(load_default="", validate=validate.OneOf(("", *query.BANDS)), metadata={"description": "Days since it was asked."})
    participant = fields.String(load_default="", validate=validate.Length(max=20))


class QueryLine(Schema):
    """A query as the reader sees it."""

    id = fields.String()
    number = fields.String(metadata={"description": "Such as Q12, or R3 of a restricted query."})
    participant = fields.String()
    site = fields.String()
    visit = fields.String()
    form = fields.String()
    row = fields.Integer()
    item = fields.String(metadata={"description": "Empty where the form as a whole is asked about."})
    label = fields.String()
    origin = fields.String(validate=validate.OneOf(tuple(query.ORIGINS)))
    rule = fields.String(metadata={"description": "The edit check that asked."})
    state = fields.String()
    restricted = fields.Boolean()
    text = fields.String()
    opened_at = fields.String()
    opened_by = fields.String()
    changed_at = fields.String()
    age = fields.Integer(metadata={"description": "Days from asking until closing, or until today."})
    seq = fields.Integer(metadata={"description": "How many acts there are; send it back as `seen`."})


class Queries(Schema):
    items = fields.List(fields.Nested(QueryLine))
    total = fields.Integer()
    page = fields.Integer()
    per_page = fields.Integer()


class NewQuery(Schema):
    participant = fields.String(required=True, validate=validate.Length(max=20))
    visit = fields.String(required=True, validate=validate.Length(max=8))
    form = fields.String(required=True, validate=validate.Length(max=20))
    row = fields.Integer(load_default=1, validate=validate.Range(min=1, max=100_000))
    item = fields.String(load_default="", validate=validate.Length(max=40))
    text = fields.String(required=True)


class QueryWords(Schema):
    text = fields.String(load_default="")
    seen = fields.Integer(load_default=None, metadata={"description": "`seq` of the query as it was read: 412 where somebody was faster."})


class QueryAnswer(QueryWords):
    response = fields.String(required=True, validate=validate.OneOf(tuple(query.RESPONSES)))


class ChecksRun(Schema):
    site = fields.String(load_default="", validate=validate.Length(max=8))
    form = fields.String(load_default="", validate=validate.Length(max=20))
    alerts = fields.Boolean(load_default=False, metadata={"description": "Ask about alerts too."})
    dry_run = fields.Boolean(load_default=False)
