"""Training: settings, batches, optimizers, the loop over epochs."""
