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
ip=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{ print $1 }')
address="$ip:6379"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
# Steps do not inherit --cpus-per-task since Slurm 22.05, and Ray does not ask Slurm what a step may use.
step=(--ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK")
node=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_ON_NODE" --block)

srun "${step[@]}" --nodes=1 -w "$head" ray start --head --port=6379 --node-ip-address="$ip" "${node[@]}" &
sleep 20
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun "${step[@]}" --nodes=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" ray start --address="$address" "${node[@]}" &
    sleep 20
fi

srun --overlap --nodes=1 --ntasks=1 -w "$head" hooke harvest \
    --model google/gemma-2-2b --site resid_post.12 --corpus /data/web.jsonl.zst --tokens 1B \
    --out /scratch/acts --device cuda --engine ray --address "$address" &
harvest=$!
trap 'kill -TERM $harvest' TERM # five minutes before the end: the shard at hand is written
wait $harvest || wait $harvest
