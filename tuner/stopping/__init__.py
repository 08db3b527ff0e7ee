"""Early stopping: Ray Tune's scheduler objects by name, and what they were told before."""
