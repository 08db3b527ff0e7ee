"""Search methods on learning curves that were recorded: whole sweeps in seconds, on a simulated clock."""
