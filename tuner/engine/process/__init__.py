"""A trial's process: trains, reports, leaves its last words."""
