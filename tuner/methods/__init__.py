"""Methods that choose configurations: by name, or any Optuna sampler. Does not depend on Ray."""
