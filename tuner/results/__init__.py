"""Reads runs: what was found, what later sweeps start from, the evaluation of the winner."""
