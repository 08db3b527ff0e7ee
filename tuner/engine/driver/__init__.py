"""The driver's process: places trials, follows them, retries them."""
