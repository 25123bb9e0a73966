"""Rehearsal of an allocation scheme before it is fixed: thousands of simulated trials, and what balance and secrecy they keep."""
