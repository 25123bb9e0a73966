"""Use cases: each one asks who may, asks whether it is approved, calls a pure rule, writes rows and audit, and never commits."""
