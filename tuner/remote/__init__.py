"""Sweeps that run elsewhere: submits them as Ray jobs with their code, and downloads their folders."""
