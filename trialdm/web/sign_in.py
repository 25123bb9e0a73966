"""Signing in and out."""

from flask import Blueprint

pages = Blueprint("sign_in", __name__)


@pages.get("/sign-in")
def form() -> str:
    """The sign-in page."""
    return "Sign in"
