"""Early stopping: Ray Tune's schedulers by name, and their replay on resume."""
