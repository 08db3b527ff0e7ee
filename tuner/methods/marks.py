"""What the study writes at a trial for a sampler, where Optuna has no place for it: of several objectives."""

# With a step behind it, the key of what was reported there, a value for each objective; Optuna keeps no such reports.
VALUES = "tuner:values:"
# The trial was stopped early. Optuna has to be told that it failed, as it prunes no trial of several objectives.
STOPPED = "tuner:stopped"
