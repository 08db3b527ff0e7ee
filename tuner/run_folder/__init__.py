"""A run folder on disk: its names and files, who owns it, who holds it. Knows neither Ray nor Optuna's study."""
