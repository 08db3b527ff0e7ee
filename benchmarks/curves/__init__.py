"""Search methods compared on recorded and surrogate learning curves, with a simulated clock.

`python -m benchmarks.curves --help` says how.
"""
