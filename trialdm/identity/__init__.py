"""The identity vault: its own database, keys and tables. It answers four questions (`domain.identity.Vault`), and nothing else."""
