"""Pages: being written."""

from flask import Blueprint

pages = Blueprint("forms", __name__)
