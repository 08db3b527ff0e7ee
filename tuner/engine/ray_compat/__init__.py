"""The one door to what is private of Ray: each entry says what it is for, and what replaces it when it is gone.

Nobody else imports a private module of Ray, or touches a member that begins with `_`. `tests/engine/test_ray_compat.py`
lists all that is used here, and names what a version of Ray lacks. A module is made for one kind of process:

- `runtime`, `sentences`: any process; they import no more than `import ray` does.
- `controller`, `actors`, `trials`: the driver.
- `training`, `train_functions`: processes that import Ray Train.
- `schedulers`: early stopping rules.
- `jobs`: the client of a cluster's dashboard.
"""
