"""Clusters for tests."""

from ray.cluster_utils import Cluster


def start_cluster(num_cpus: int) -> Cluster:
    """The head of a cluster on this machine, without what no test looks at: a dashboard, a reader of logs."""
    node = {"num_cpus": num_cpus, "include_dashboard": False, "include_log_monitor": False}
    return Cluster(initialize_head=True, head_node_args=node)
