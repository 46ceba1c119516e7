"""Training options of LazyConfig, in Detectron2's form."""

from .schedule import EPOCH

train = dict(
    output_dir="./output",
    init_checkpoint="",
    max_iter=12 * EPOCH,
    amp=dict(enabled=False),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=EPOCH, max_to_keep=100),
    eval_period=EPOCH,
    log_period=20,
    device="cuda",
    seed=-1,
)
