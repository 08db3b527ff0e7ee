"""Images: read, augmented, and networks that classify them."""
