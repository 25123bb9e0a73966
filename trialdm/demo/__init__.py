"""A simulated run of the PRE-TMR trial, made through the services by the demonstration's own accounts."""
