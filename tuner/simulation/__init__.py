"""Runs search methods on recorded learning curves: whole sweeps in seconds, on a simulated clock."""
