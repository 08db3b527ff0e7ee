"""Sweeps that run elsewhere: sent as Ray jobs, with their code; their folders brought back."""
