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
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

# srun takes its number of cores from here alone.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# Two minutes before the end, SLURM sends USR1 to this shell alone, and TERM when it is cancelled.
# At TERM the processes save a checkpoint after their step and end with 143; srun would kill them.
time_is_up=
trap 'time_is_up=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap : TERM # the processes get it, too

srun --kill-on-bad-exit=1 python train_net.py --resume "$@" &
while kill -0 $! 2>/dev/null; do
    wait $! # until a signal comes or srun has ended
done
wait $!
status=$?
if [ "$time_is_up" ] && [ $status -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
