"""Pages: being written."""

from flask import Blueprint

pages = Blueprint("trials", __name__)
