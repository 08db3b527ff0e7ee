"""`Portable` under the name that it was imported by before; write `tuner.Portable`."""

from tuner.trial.portable import Portable as Portable
