"""The sweep file, read and checked. Does not import Ray, Optuna or torch."""
