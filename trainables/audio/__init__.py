"""Recordings: read as spectrograms, and networks that classify them."""
