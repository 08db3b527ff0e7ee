"""What Ray's processes print, raise and are called, as far as we read it: texts, and nothing of Ray is imported.

When one is gone, what looks for it does not find it, and says less: the comments tell what.
"""

import re

# Begins the line of a job's log after which what its command has printed follows. Gone: print a line of our own first.
JOB_BEGINS = "Running entrypoint for job"
# Refused to submit a job under the id of another. Gone: `ClusterError` where two submit one id at a time.
ID_IS_TAKEN = "already exists"
# What a dashboard is asked beside jobs: the file of a node's log folder, and the nodes. Gone: a small job on the node
# that prints them.
LOG_FILE = "/api/v0/logs/file"
NODES = "/api/v0/nodes"
# The environment variables that Ray's client of a dashboard prefers to the address that it is given.
ADDRESS_VARIABLES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
# Refused to connect to a cluster of another Ray or Python. Gone: the remedy for that is not told.
OTHER_VERSIONS = "Version mismatch"
# Of an actor that died: its class raised when it was made. Gone: such a trial is tried again as a lost one.
FAILED_AT_START = "creation task"
# In the command line of a head's autoscaler: whose it is, and its configuration. Gone: a cluster that grows counts as
# one that does not.
GCS_ADDRESS = "--gcs-address="
AUTOSCALER_CONFIG = "--autoscaling-config="
# The label of each node that holds its id. Gone: jobs are sent to the head, and no node is avoided.
NODE_LABEL = "ray.io/node-id"
# What Ray puts below its temporary folder, at the longest. Gone: where that is too long is found out by Ray itself.
LONGEST_PATH = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store.1"
# Printed by a process of Ray's that a signal ends which its own code has brought about; names the signal. Gone: a
# process that crashed counts as killed from outside.
CRASHED = re.compile(r"^\*\*\* (SIGABRT|SIGBUS|SIGFPE|SIGILL|SIGSEGV) received at")
# Ray's own lines in the logs of its processes begin so. Gone: they are shown among what a process has printed last.
LOG_PREFIXES = (":job_id:", ":actor_name:", ":task_name:")
