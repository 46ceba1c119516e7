#!/bin/bash
# Detects in a large collection on several machines, by Ray, see docs/scale.md:
#
#     sbatch deploy/slurm/predict.sh --input /shared/part-*.tar --output /shared/out --exported model.xml
#
# All arguments are tools/predict.py's. Options of sbatch before the script's name replace these here:
#SBATCH --job-name=tood-predict
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append

# A minute before the end; started again, it goes on with the shards that are missing.
trap 'scontrol requeue "$SLURM_JOB_ID"; exit' USR1

# Without a token, whoever reaches the port could run programs under this account.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
# This shell runs on the first machine. Jobs that share it should not meet.
ADDRESS=$(hostname):$((20000 + SLURM_JOB_ID % 20000))
export ADDRESS RAY_AUTH_TOKEN RAY_AUTH_MODE=token

# The first machine starts the cluster, the others join. One that fails takes no other with it.
# shellcheck disable=SC2016 # each machine has its own values
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --no-kill --kill-on-bad-exit=0 bash -c '
    where=(--head --port "${ADDRESS##*:}" --temp-dir "/tmp/ray_$SLURM_JOB_ID")
    where+=(--include-dashboard false)
    if [ "$SLURM_PROCID" != 0 ]; then
        until ray status --address "$ADDRESS" >/dev/null 2>&1; do sleep 1; done
        where=(--address "$ADDRESS")
    fi
    exec ray start "${where[@]}" --num-cpus "$SLURM_CPUS_PER_TASK" --disable-usage-stats --block
' &
nodes=$!
until ray status --address "$ADDRESS" >/dev/null 2>&1; do
    kill -0 $nodes || exit 1 # srun has said why
    sleep 1
done

# Actors are started as machines join.
python tools/predict.py --ray "$ADDRESS" --workers $((SLURM_NNODES * SLURM_CPUS_PER_TASK)) "$@" &
wait $!
