#!/bin/bash
# A tuner sweep on the nodes of a Slurm job:  sbatch docs/clusters/slurm.sh SPEC [ID]
#
# Starts a Ray cluster of this job's nodes, runs the sweep on it and ends both. The run folder is runs/ID in the folder
# that the job was submitted in, which the first node has to see; ID is the job's name if left out. A job that comes
# again with the same ID goes on with its sweep; one that runs out of time puts itself into the queue again.

#SBATCH --job-name=tuner
#SBATCH --nodes=2                # CHANGE: as many as you like
#SBATCH --ntasks-per-node=1      # one Ray node on each
#SBATCH --cpus-per-task=8        # CHANGE: what trials have of a node
#SBATCH --gpus-per-node=1        # CHANGE: 0 for none
#SBATCH --time=04:00:00          # CHANGE:
#SBATCH --signal=B:TERM@180      # three minutes before the end, running trials save and the driver ends
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
spec=${1:?"usage: sbatch slurm.sh SPEC [ID]"}
id=${2:-$SLURM_JOB_NAME}

# CHANGE: the environment that tuner is installed in, the same one on every node.
# source "$HOME/tuner/.venv/bin/activate"

# Others may be on these nodes as well: only who has this job's token may use its cluster.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
on=(srun --nodes=1 --ntasks=1 --nodelist)

ip=$("${on[@]}" "${nodes[0]}" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))
resources=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"${on[@]}" "${nodes[0]}" ray start --head --block --disable-usage-stats --include-dashboard=false \
    --node-ip-address="$ip" --port="$port" "${resources[@]}" &
# The others wait for the head, and the driver for the others: `parallel: auto` counts what is there when it starts.
until ray health-check --address="$ip:$port" >/dev/null 2>&1; do
    kill -0 $! || exit 1
    sleep 1
done
for node in "${nodes[@]:1}"; do
    "${on[@]}" "$node" ray start --block --disable-usage-stats --address="$ip:$port" "${resources[@]}" &
done
python - "$ip:$port" "${#nodes[@]}" <<'PYTHON'
import sys
import time

import ray

address, wanted = sys.argv[1], int(sys.argv[2])
ray.init(address, log_to_driver=False)
for _ in range(300):
    alive = sum(node["Alive"] for node in ray.nodes())
    if alive == wanted:
        sys.exit(0)
    time.sleep(1)
sys.exit(f"{alive} of {wanted} nodes have come within five minutes")
PYTHON

tuner run "$spec" --address "$ip:$port" --id "$id" --output "$SLURM_SUBMIT_DIR/runs" &
driver=$!
trap 'kill -TERM $driver' TERM
code=0
# A signal ends `wait` at once; the driver has still to save.
while wait $driver || code=$?; kill -0 $driver 2>/dev/null; do :; done
if [ $code = 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
