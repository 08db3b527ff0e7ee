"""What one trial's process has: `Trial`, checkpoints, devices, seeds. Knows no Ray."""
