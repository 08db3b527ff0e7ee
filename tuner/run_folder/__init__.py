"""A run folder on disk: its names and files, its owner, its lock. Does not depend on Ray or Optuna's study."""
