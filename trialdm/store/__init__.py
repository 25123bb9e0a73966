"""Where everything is kept: engine, keys, tables and migrations. Knows no rule of a trial."""
