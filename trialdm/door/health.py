"""Whether the service is alive, and whether it can serve."""

from flask import Flask, Response, jsonify
from sqlalchemy import text

from trialdm.door.security import instance
from trialdm.store import migrate


def register(app: Flask) -> None:
    """Add the two addresses that a supervisor asks."""
    app.add_url_rule("/healthz", "healthz", alive)
    app.add_url_rule("/readyz", "readyz", ready)


def alive() -> Response:
    """The process answers."""
    return jsonify({"status": "alive"})


def ready() -> tuple[Response, int]:
    """The database answers, has the tables of this version, and the keys are there."""
    problems = []
    try:
        with instance().engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        if migrate.revision(instance().engine) != migrate.newest():
            problems.append("the database needs migrating")
    except Exception:
        problems.append("the database does not answer")
    if not all((instance().settings.keys_folder / f"{name}.key").is_file() for name in ("audit", "allocation")):
        problems.append("a key is absent")
    return jsonify({"status": "ready" if not problems else "not ready", "problems": problems}), 200 if not problems else 503
