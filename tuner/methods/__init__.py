"""Methods: how configurations are chosen, by name or by any Optuna sampler; knows nothing of Ray."""
