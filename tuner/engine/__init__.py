"""The engine: Ray Tune driven by a study. The only package that imports ray (and `tuner.stopping` its schedulers)."""
