"""Reads runs: their results, what later sweeps start from, the evaluation of the winner."""
