"""A run folder at a URI: uploading, reading, and the lock for one driver at a time."""
