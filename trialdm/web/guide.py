"""Pages: being written."""

from flask import Blueprint

pages = Blueprint("guide", __name__)
