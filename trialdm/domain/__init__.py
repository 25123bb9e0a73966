"""The rules of a trial as pure functions: standard library only, with time and randomness passed in."""
