"""Tables: read, split, encoded, and models for them."""
