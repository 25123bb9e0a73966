"""A small protocol, ethics folder and people file that load clean, and a way to break one place of them."""

PROTOCOL = """\
trial: {id: demo, short_title: DEMO, title: Demo, version: "1.0", study_type: non-ctimp, target: {participants: 9, months: 2}}
params:
  limit: {value: 4, source: "Protocol 1.0"}
arms:
  - {code: 1, name: TMR, label: Targeted muscle reinnervation}
  - {code: 2, name: STD, label: Standard}
sites:
  - {code: S01, name: Northbridge, nation: ENG}
  - {code: S02, name: Glen Torran, nation: SCO}
allocation:
  method: minimisation
  imbalance: range
  p: "4/5"
  factors:
    - {name: site, weight: 1}
    - {name: limb, form: CLIN, visit: V01, item: limb}
visits:
  - {code: V01, number: 1, label: Baseline, kind: event}
  - {code: V02, number: 2, label: 6 weeks, kind: scheduled, anchor: surg_date, fallback: rand_date, target: 42}
context:
  - {name: surg_date, form: CLIN, visit: V01, item: surg_on}
tables:
  factor: {id: "1", values: {1: "0.1", 2: "1.5"}}
instruments:
  - {id: NRS, form: PAIN, wording: none, licence: None needed}
"""

CODELISTS = """\
CL_LIMB: {1: Lower, 2: Upper}
CL_DEVTYPE: {1: Late, 4: Crossover}
"""

CLIN = """\
form: CLIN
title: Clinical
kind: baseline
visits: {V01: required}
items:
  - section: The limb
  - {name: limb, label: Limb, type: code, codelist: CL_LIMB}
  - {name: surg_on, label: Day of surgery, type: date}
  - {name: kg, label: Weight, type: dec, decimals: 1, min: 20, max: 300}
"""

PAIN = """\
form: PAIN
title: Pain
kind: outcome
visits: {V02: required}
repeating: true
items:
  - {name: worst, label: Worst, type: int, min: 0, max: 10}
  - {name: avg, label: Average, type: int, show_if: "worst > 0"}
  - {name: twice, label: Twice, type: calc, result: int, value: "worst * 2"}
summary:
  - {name: all_worst, label: All, type: calc, result: int, value: "max_rows(worst)"}
checks:
  - {id: PAIN-01, severity: soft, items: [avg], when: "avg > worst", message: Check both.}
"""

FILES = {
    "demo/protocol.yaml": PROTOCOL,
    "demo/codelists.yaml": CODELISTS,
    "demo/forms/clin.yaml": CLIN,
    "demo/forms/pain.yaml": PAIN,
}

APPROVALS = """\
trial: demo
approvals:
  - {body: rec, ref: 25/NE/0123, status: favourable, decided_on: 2025-02-24}
  - {body: hra_hcrw, nations: [ENG], ref: "312345", status: granted, decided_on: 2025-03-01}
  - {body: site_cc, site: S01, status: confirmed, decided_on: 2025-05-02, agreement_signed_on: 2025-05-01}
"""

DOCUMENTS = """\
trial: demo
documents:
  - {kind: PIS, code: 1, version: "1.0", dated: 2025-01-20, approved_on: 2025-02-24, effective_from: 2025-03-10}
  - {kind: PIS, code: 2, version: "2.0", dated: 2025-06-20, effective_from: 2025-09-10, sites: {S02: 2025-10-01}}
"""

ETHICS = {"demo/approvals.yaml": APPROVALS, "demo/documents.yaml": DOCUMENTS}

PEOPLE = """\
trial: demo
people:
  - email: nurse@example.org
    name: Nurse One
    roles: [{role: research-nurse, site: S01}]
    delegations: [{tasks: [consent, crf], site: S01, start: 2025-05-01, signed_by_pi: true}]
    trainings: [{kind: gcp, date: 2025-04-01, valid_to: 2028-04-01}]
  - email: Surgeon@Example.org
    name: Surgeon Seven
    roles: [{role: surgeon, site: S01}]
    credential: {surgeon: 7, site: S01, valid_from: 2025-05-01, cases: 12}
  - {email: monitor@example.org, name: Monitor, roles: [{role: monitor}]}
"""


def broken(files: dict[str, str], path: str, old: str, new: str) -> dict[str, str]:
    """The files with one place of one file changed; with nothing old, `new` is put at the end, and makes a file of its own."""
    text = files.get(path, "")
    if old and text.count(old) != 1:
        raise ValueError(f"'{old}' stands {text.count(old)} times in {path}")
    return {**files, path: text.replace(old, new) if old else text + new}
