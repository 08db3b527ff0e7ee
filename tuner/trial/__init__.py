"""Everything in a trial's process: `Trial`, checkpoints, devices, seeds. Does not import Ray."""
