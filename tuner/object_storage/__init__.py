"""The same run folder at a URI: brought there, read there, one driver at a time."""
