"""Who took what: read, and models that recommend."""
