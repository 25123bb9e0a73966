"""trialdm: a trial data-management platform that does nothing ethics has not approved here and today."""

__version__ = "0.1.0"
