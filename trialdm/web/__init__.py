"""Pages for people: a thin door to the use cases."""

from flask import Flask

from trialdm.web import exports, forms, guide, layout, notices, participants, rehearsals, sign_in, theatre, trials, unblinding


def register(app: Flask) -> None:
    """Add every page to the application."""
    layout.register(app)
    of_trials = (trials.pages, participants.pages, unblinding.pages, theatre.pages, forms.pages, exports.pages, rehearsals.pages)
    for pages in (sign_in.pages, *of_trials, notices.pages, guide.pages):
        app.register_blueprint(pages)
