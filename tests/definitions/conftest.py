"""Properties are tried on the same examples every time and are not timed: neither chance nor a busy machine decides a test."""

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")
