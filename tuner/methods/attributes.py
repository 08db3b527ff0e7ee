"""Trial attributes that the study writes for samplers, for values that Optuna does not store."""

# With a step behind it, the key of what was reported there, a value for each of several objectives: Optuna keeps those
# of one alone.
VALUES = "tuner:values:"
# The key of how a trial has ended. Optuna has to be told that one of several objectives that was stopped has failed.
OUTCOME = "tuner:outcome"
