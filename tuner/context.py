"""`Trial` under the name that it was imported by before; write `tuner.Trial`."""

from tuner.trial.trial import Trial as Trial
