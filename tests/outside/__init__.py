"""A real OpenID Connect provider on loopback."""
