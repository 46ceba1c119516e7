"""Training options of LazyConfig, in Detectron2's form."""

from .schedule import EPOCH

train = dict(
    output_dir="./output",
    init_checkpoint="",
    max_iter=12 * EPOCH,
    # Length in epochs, to which max_iter and all other lengths are stretched.
    epochs=None,
    # Whether to scale learning rate and lengths to the batch size, see config/schedule.py, and
    # the batch size that they are written for.
    scale_schedule=False,
    reference_batch_size=16,
    # Batches whose mean gradient makes a step.
    gradient_accumulation=1,
    # Steps with losses or gradients that are not finite that are left out before training ends.
    max_nonfinite_steps=0,
    # dtype: "float16" or "bfloat16"
    amp=dict(enabled=False, dtype="float16"),
    # Whether channels are next to each other in memory, as some kernels want them.
    channels_last=False,
    # Whether to compile the head by torch.compile.
    compile_head=False,
    # Exponential moving average of the weights, evaluated and saved beside them.
    ema=dict(enabled=False, decay=0.9998),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=EPOCH, max_to_keep=100),
    eval_period=EPOCH,
    # Whether to keep the weights with the best AP as model_best.pth.
    best_checkpoint=True,
    # Evaluations without a better AP after which training ends, 0 for never.
    early_stopping=0,
    # Whether to log the losses on the test data.
    validation_loss=False,
    # Test images whose detections are put into TensorBoard at each evaluation.
    num_pictures=0,
    # Project of Weights & Biases to log to, "" for none.
    wandb_project="",
    log_period=20,
    device="cuda",
    # Of weights, order of images and augmentations; -1 for another one each time.
    seed=-1,
)
