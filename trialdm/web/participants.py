"""Pages: being written."""

from flask import Blueprint

pages = Blueprint("participants", __name__)
