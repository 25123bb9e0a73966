"""The web service: one Flask application around one instance. This is where pages and API are put together."""

from pathlib import Path

from flask import Flask
from flask_bootstrap import Bootstrap5
from waitress import create_server

from trialdm import api, web
from trialdm.documents.press import Press
from trialdm.domain.errors import Invalid
from trialdm.door import errors, health, logs, routes, security
from trialdm.instance import Instance
from trialdm.services import jobs

#: The largest request that is read: a CSV file for an import.
_LARGEST_REQUEST = 20 * 1024 * 1024


def create_app(instance: Instance) -> Flask:
    """The application that serves an instance."""
    return lead_to(put_together(), instance)


def lead_to(app: Flask, instance: Instance) -> Flask:
    """Open the doors to an instance."""
    known = instance.settings
    worker = jobs.Jobs(instance.units, known.folder, known.mail, known.address, known.anchors, known.vault.orphan_minutes)
    app.extensions = {**app.extensions, "trialdm": instance, "trialdm-jobs": worker, "trialdm-press": Press()}
    return app


def put_together() -> Flask:
    """Pages and API, which are the same for every instance."""
    folder = Path(__file__).parent / "web"
    app = Flask("trialdm", template_folder=str(folder / "templates"), static_folder=str(folder / "static"), static_url_path="/static")
    app.config.update(
        MAX_CONTENT_LENGTH=_LARGEST_REQUEST,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
        MAX_FORM_PARTS=5000,
        BOOTSTRAP_SERVE_LOCAL=True,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    Bootstrap5(app)
    logs.register(app)
    security.register(app)
    routes.register(app)
    health.register(app)
    web.register(app)
    api.register(app)
    errors.register(app)
    return app


def serve(instance: Instance, *, host: str, port: int, threads: int) -> None:
    """Serve until interrupted, with a worker for exports and mails in threads of its own."""
    logs.to_standard_error()
    app = create_app(instance)
    worker: jobs.Jobs = app.extensions["trialdm-jobs"]
    try:
        server = create_server(app, host=host, port=port, threads=threads, ident=None)
    except OSError as problem:
        raise Invalid(
            f"Port {port} of {host} cannot be used: {problem.strerror}.", code="SERVE.PORT", needs="Another port: --port NUMBER."
        ) from None
    worker.start()
    try:
        server.run()
    finally:
        worker.stop()
        server.close()
