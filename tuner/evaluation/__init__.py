"""`tuner evaluate`: a sweep's best configuration against the default one."""
