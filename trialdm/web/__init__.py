"""Pages for people: a thin door to the use cases."""

from flask import Flask

from trialdm.web import (
    account,
    accounts,
    allocation,
    approvals,
    deadlines,
    derived,
    envelopes,
    exports,
    factors,
    forms,
    guide,
    identities,
    imports,
    layout,
    modifications,
    notices,
    participants,
    pathway,
    people,
    printing,
    queries,
    rehearsals,
    reports,
    row_table,
    safety,
    sign_in,
    signing,
    steps,
    theatre,
    trail,
    transfers,
    trials,
    unblinding,
    versions,
    visits,
    worklists,
)


def register(app: Flask) -> None:
    """Add every page to the application."""
    layout.register(app)
    of_one = (
        identities.pages,
        participants.pages,
        unblinding.pages,
        theatre.pages,
        forms.pages,
        row_table.pages,
        signing.pages,
        factors.pages,
        transfers.pages,
    )
    of_participants = (
        *of_one,
        derived.pages,
        printing.pages,
        imports.pages,
        worklists.pages,
        visits.pages,
        queries.pages,
        trail.pages,
        reports.pages,
        safety.pages,
    )
    of_ethics = (approvals.pages, modifications.pages, deadlines.pages, versions.pages)
    of_allocation = (allocation.pages, envelopes.pages, rehearsals.pages)
    of_trials = (trials.pages, steps.pages, *of_ethics, *of_allocation, exports.pages, people.pages, pathway.pages, *of_participants)
    for pages in (sign_in.pages, account.pages, accounts.pages, *of_trials, notices.pages, guide.pages):
        app.register_blueprint(pages)
