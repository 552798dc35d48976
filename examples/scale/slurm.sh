#!/bin/bash
# A harvest on the nodes that Slurm gives: sbatch slurm.sh. Submitted again it goes on where it was.
#SBATCH --job-name=hooke-harvest
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address="$head:6379"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(openssl rand -hex 32)

srun --nodes=1 --ntasks=1 -w "$head" ray start --head --port=6379 --block &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
    srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" ray start --address="$address" --block &
    sleep 20
fi

srun --overlap --nodes=1 --ntasks=1 -w "$head" hooke harvest \
    --model google/gemma-2-2b --site resid_post.12 --corpus /data/web.jsonl.zst --tokens 1B \
    --out /scratch/acts --device cuda --engine ray --address "$address" &
harvest=$!
trap 'kill -TERM $harvest' TERM # five minutes before the end: the shard at hand is written
wait $harvest || wait $harvest
