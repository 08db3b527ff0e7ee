"""Texts: read, cut into tokens, and networks that take them."""
