"""What a sweep is asked to be: the sweep file, checked. Knows no Ray, no Optuna, no torch."""
