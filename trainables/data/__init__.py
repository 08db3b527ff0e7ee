"""Data of any kind: files in trees, splits, labels, metrics."""
