"""Allocation: exact, reproducible, concealed. Integers, rationals and SHA-256 only; the master secret is an argument."""
