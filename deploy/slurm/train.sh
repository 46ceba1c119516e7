#!/bin/bash
# Trains on several machines, for as many turns as it takes, see docs/scale.md:
#
#     sbatch deploy/slurm/train.sh --config-file configs/tood_R_50_FPN_1x.py train.output_dir=/shared/r50
#
# All arguments are train_net.py's. Options of sbatch before the script's name replace these here:
#SBATCH --job-name=tood-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

# srun takes its number of cores from here alone.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# Two minutes before the end, SLURM sends this shell SIGTERM. The processes get it, too, save a
# checkpoint after their step and end with 143. srun itself would kill them.
time_is_up=
trap 'time_is_up=1; scancel --signal=TERM "$SLURM_JOB_ID"' TERM

srun --kill-on-bad-exit=1 python train_net.py --resume "$@" &
wait $!
status=$?
if [ "$time_is_up" ]; then # which ended the waiting
    wait $!
    status=$?
    [ $status -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
