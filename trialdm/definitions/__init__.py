"""Definition files (YAML) to domain objects, with every error at once as FILE:LINE: message."""
