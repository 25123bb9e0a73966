"""Pages for people: a thin door to the use cases."""

from flask import Flask

from trialdm.web import (
    allocation,
    envelopes,
    exports,
    factors,
    forms,
    guide,
    layout,
    notices,
    participants,
    pathway,
    rehearsals,
    sign_in,
    theatre,
    trials,
    unblinding,
    versions,
)


def register(app: Flask) -> None:
    """Add every page to the application."""
    layout.register(app)
    of_participants = (participants.pages, unblinding.pages, theatre.pages, forms.pages, factors.pages)
    of_trials = (trials.pages, allocation.pages, envelopes.pages, exports.pages, rehearsals.pages, versions.pages, pathway.pages)
    for pages in (sign_in.pages, *of_trials, *of_participants, notices.pages, guide.pages):
        app.register_blueprint(pages)
