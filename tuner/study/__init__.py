"""The durable record of a sweep, and what is written beside it."""
