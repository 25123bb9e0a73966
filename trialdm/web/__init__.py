"""Pages for people: a thin door to the use cases."""

from flask import Flask

from trialdm.web import exports, forms, guide, layout, participants, sign_in, trials


def register(app: Flask) -> None:
    """Add every page to the application."""
    layout.register(app)
    for pages in (sign_in.pages, trials.pages, participants.pages, forms.pages, exports.pages, guide.pages):
        app.register_blueprint(pages)
