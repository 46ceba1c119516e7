"""The options of a run: each with its keys in both kinds of config, its default and its purpose.

This is the one place that knows them. ``configs/common/train.py`` and :func:`.add_tood_config` take
keys and defaults from here, messages take the keys, and ``dev/document_options.py`` writes
``docs/options.md``.
"""

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple, get_args

AMP_DTYPES = ("float16", "bfloat16")
CLIP_TYPES = ("value", "norm")
MERGE_METHODS = ("hard", "soft_linear", "soft_gaussian", "wbf")
MERGE_SCORES = ("avg", "max")
OPTIMIZERS = ("SGD", "AdamW")


class Keys(NamedTuple):
    """The names that users know an option by; None where a kind of config does not have it."""

    lazy: str | None
    yaml: str | None

    def __str__(self) -> str:
        return " or ".join(filter(None, self))


def _option(
    default: Any, keys: str, *, at_least: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A field with its keys in LazyConfig and YAML, "-" for none."""
    keys = Keys(*(None if key == "-" else key for key in keys.split()))
    metadata = {"keys": keys, "at_least": at_least, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Options with the values that they have where a config does not mention them.

    Raises:
        ValueError: on values of another type or out of range, with their keys.
    """

    # Data
    source: str = _option("", "dataset.source DATASETS.SOURCE")
    """Folder or file of data as a labelling tool exports it, in place of the four below."""
    train_json: str = _option("", "dataset.train_json DATASETS.TRAIN_JSON")
    """COCO JSON of the training data."""
    train_images: str = _option("", "dataset.train_images DATASETS.TRAIN_IMAGES")
    """Folder of its images."""
    test_json: str = _option("", "dataset.test_json DATASETS.TEST_JSON")
    """COCO JSON of the test data."""
    test_images: str = _option("", "dataset.test_images DATASETS.TEST_IMAGES")
    """Folder of its images."""
    class_names: list = _option([], "dataset.class_names DATASETS.CLASS_NAMES")
    """Names of the classes; training fills it."""
    category_ids: list = _option([], "dataset.category_ids DATASETS.CATEGORY_IDS")
    """Ids of the classes in results, where the data are not there to tell; training fills it."""
    min_object_size: float = _option(
        0.0, "dataset.min_object_size DATASETS.MIN_OBJECT_SIZE", at_least=0
    )
    """Enlarge images, at most twice, until nine of ten objects are so many pixels large."""
    num_classes: int = _option(80, "model.num_classes MODEL.TOOD.NUM_CLASSES", at_least=1)
    """Classes; read from the JSON."""
    batch_size: int = _option(
        16, "dataloader.train.total_batch_size SOLVER.IMS_PER_BATCH", at_least=1
    )
    """Images per batch, over all processes."""
    num_workers: int = _option(4, "dataloader.train.num_workers DATALOADER.NUM_WORKERS", at_least=0)
    """Processes that read images, for each training process."""
    max_unreadable: int = _option(
        10, "dataloader.train.max_unreadable DATALOADER.MAX_UNREADABLE", at_least=0
    )
    """Unreadable images that are replaced before training ends."""
    min_visible: float = _option(0.0, "dataloader.train.mapper.min_visible INPUT.MIN_VISIBLE")
    """Share of a box that crops have to leave for the object to be kept."""
    mosaic_prob: float = _option(0.0, "dataloader.train.mosaic.prob DATALOADER.MOSAIC.PROB")
    """Share of the training samples that are made of four images."""
    mosaic_close: float = _option(0.1, "dataloader.train.mosaic.close DATALOADER.MOSAIC.CLOSE")
    """Share of training, its end, without these and without copied objects."""
    copy_paste_prob: float = _option(
        0.0, "dataloader.train.copy_paste.prob DATALOADER.COPY_PASTE.PROB"
    )
    """Share of the training samples with some objects of another image."""
    input_format: str = _option("BGR", "dataloader.test.mapper.image_format INPUT.FORMAT")
    """Order of the channels that the model takes."""

    # Files
    output_dir: str = _option("./output", "train.output_dir OUTPUT_DIR")
    """Folder for checkpoints, logs and results."""
    init_checkpoint: str = _option("", "train.init_checkpoint MODEL.WEIGHTS")
    """Weights to start from, or to evaluate."""
    checkpoint_period: int = _option(
        5000, "train.checkpointer.period SOLVER.CHECKPOINT_PERIOD", at_least=1
    )
    """Iterations between checkpoints."""
    max_to_keep: int = _option(
        100, "train.checkpointer.max_to_keep SOLVER.CHECKPOINTS_TO_KEEP", at_least=1
    )
    """Latest checkpoints that are kept."""
    background_checkpoints: bool = _option(
        False, "train.checkpointer.background SOLVER.BACKGROUND_CHECKPOINTS"
    )
    """Write checkpoints while training goes on; takes memory for one."""
    remote_dir: str = _option("", "train.remote_dir REMOTE_DIR")
    """Copy of the output folder, such as s3://bucket/run; --resume looks there, too."""

    # Schedule
    max_iter: int = _option(90000, "train.max_iter SOLVER.MAX_ITER", at_least=0)
    """Length of training in iterations."""
    epochs: float | None = _option(None, "train.epochs SOLVER.EPOCHS")
    """Length of training in epochs; all other lengths are stretched with it."""
    min_iter: int = _option(0, "train.min_iter SOLVER.MIN_ITER", at_least=0)
    """Where a length in epochs gives fewer iterations: these instead."""
    steps: tuple = _option((), "- SOLVER.STEPS")
    """Iterations at which the learning rate falls."""
    warmup_iters: int = _option(0, "- SOLVER.WARMUP_ITERS", at_least=0)
    """Iterations of rising learning rate."""
    initial_phase_iters: int = _option(
        0, "model.initial_phase_iters MODEL.TOOD.INITIAL_PHASE.ITERS", at_least=-1
    )
    """Iterations of ATSS before task alignment learning; 0 for none, -1 for all."""
    lr: float = _option(0.01, "optimizer.lr SOLVER.BASE_LR")
    """Learning rate."""
    optimizer: str = _option("SGD", "- SOLVER.OPTIMIZER", choices=OPTIMIZERS)
    """In a LazyConfig, ``optimizer`` itself."""
    backbone_multiplier: float = _option(1.0, "- SOLVER.BACKBONE_MULTIPLIER", at_least=0)
    """Of the backbone's learning rate; in a LazyConfig, ``optimizer.params.lr_factor_func``."""
    undecayed: list = _option([], "- SOLVER.UNDECAYED")
    """Names of parameters, within their modules, that have no weight decay."""
    scale_schedule: bool = _option(False, "train.scale_schedule SOLVER.SCALE_SCHEDULE")
    """Scale learning rate and lengths to the images per step."""
    reference_batch_size: int = _option(
        16, "train.reference_batch_size SOLVER.REFERENCE_BATCH_SIZE", at_least=1
    )
    """Images per step that the schedule is written for."""
    gradient_accumulation: int = _option(
        1, "train.gradient_accumulation SOLVER.GRADIENT_ACCUMULATION", at_least=1
    )
    """Batches whose mean gradient makes a step."""
    seed: int = _option(-1, "train.seed SEED")
    """Of weights, order of images and augmentations; -1 for a new one."""

    # Step
    device: str = _option("cuda", "train.device MODEL.DEVICE")
    """The CPU if there is no GPU."""
    amp_enabled: bool = _option(False, "train.amp.enabled SOLVER.AMP.ENABLED")
    """Automatic mixed precision."""
    amp_dtype: str = _option("float16", "train.amp.dtype SOLVER.AMP.DTYPE", choices=AMP_DTYPES)
    """Its type."""
    clip_enabled: bool = _option(
        False, "train.clip_gradients.enabled SOLVER.CLIP_GRADIENTS.ENABLED"
    )
    """Clip gradients."""
    clip_type: str = _option(
        "value",
        "train.clip_gradients.clip_type SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
        choices=CLIP_TYPES,
    )
    """Each value, or the norm of each parameter's gradient."""
    clip_value: float = _option(
        1.0, "train.clip_gradients.clip_value SOLVER.CLIP_GRADIENTS.CLIP_VALUE", at_least=0
    )
    """Largest absolute value, or norm."""
    clip_norm_type: float = _option(
        2.0, "train.clip_gradients.norm_type SOLVER.CLIP_GRADIENTS.NORM_TYPE", at_least=0
    )
    """P of the norm."""
    max_nonfinite_steps: int = _option(
        0, "train.max_nonfinite_steps SOLVER.MAX_NONFINITE_STEPS", at_least=0
    )
    """Steps without finite losses and gradients that are left out before training ends."""
    channels_last: bool = _option(False, "train.channels_last SOLVER.CHANNELS_LAST")
    """Channels-last memory format."""
    compile_head: bool = _option(False, "train.compile_head SOLVER.COMPILE_HEAD")
    """Compile the head by torch.compile, anew for each size of batches."""
    broadcast_buffers: bool = _option(
        False, "train.ddp.broadcast_buffers SOLVER.DDP.BROADCAST_BUFFERS"
    )
    """See DistributedDataParallel."""
    find_unused_parameters: bool = _option(
        False, "train.ddp.find_unused_parameters SOLVER.DDP.FIND_UNUSED_PARAMETERS"
    )
    """See DistributedDataParallel."""
    fp16_compression: bool = _option(
        False, "train.ddp.fp16_compression SOLVER.DDP.FP16_COMPRESSION"
    )
    """Send gradients in half precision."""
    ema_enabled: bool = _option(False, "train.ema.enabled SOLVER.EMA.ENABLED")
    """Average the weights (EMA), evaluated and saved beside them."""
    ema_decay: float = _option(0.9998, "train.ema.decay SOLVER.EMA.DECAY")
    """What a step keeps of the average; after n steps at most (1 + n) / (10 + n)."""
    precise_bn: bool = _option(False, "train.precise_bn.enabled TEST.PRECISE_BN.ENABLED")
    """Recompute batch norm's statistics before each evaluation."""
    precise_bn_iters: int = _option(200, "train.precise_bn.num_iter TEST.PRECISE_BN.NUM_ITER")
    """From so many batches."""

    # Evaluation and logs
    eval_period: int = _option(0, "train.eval_period TEST.EVAL_PERIOD")
    """Iterations between evaluations; 0: at the end."""
    tta_enabled: bool = _option(False, "- TEST.AUG.ENABLED")
    """Evaluate by test-time augmentation; LazyConfig: --tta."""
    merge_method: str = _option(
        "hard", "train.merge.method TEST.MERGE.METHOD", choices=MERGE_METHODS
    )
    """Merge the detections of --tta and --ensemble by NMS, Soft-NMS or weighted box fusion."""
    merge_iou_thresh: float | None = _option(
        None, "train.merge.iou_thresh TEST.MERGE.IOU_THRESH", at_least=0
    )
    """IoU above which they are the same object; None for that of the model's NMS."""
    merge_sigma: float = _option(0.5, "train.merge.sigma TEST.MERGE.SIGMA")
    """Of soft_gaussian; small ones suppress more."""
    merge_score_thresh: float = _option(
        0.0, "train.merge.score_thresh TEST.MERGE.SCORE_THRESH", at_least=0
    )
    """Score that detections need to be merged."""
    merge_score_type: str = _option(
        "avg", "train.merge.score_type TEST.MERGE.SCORE_TYPE", choices=MERGE_SCORES
    )
    """Of wbf: the mean score, lower if few agree, or the largest."""
    merge_weights: list = _option([], "train.merge.weights TEST.MERGE.WEIGHTS")
    """Of the models of --ensemble, the config's first; equal without it."""
    expected_results: list = _option([], "- TEST.EXPECTED_RESULTS")
    """Results that training should reach, see Detectron2's ``verify_results``."""
    best_checkpoint: bool = _option(True, "train.best_checkpoint TEST.BEST_CHECKPOINT")
    """Keep the weights with the best AP as model_best.pth."""
    max_hours: float = _option(0.0, "train.max_hours SOLVER.MAX_HOURS", at_least=0)
    """Hours after which a checkpoint is saved and training ends, to be resumed; 0 for any."""
    early_stopping: int = _option(0, "train.early_stopping TEST.EARLY_STOPPING", at_least=0)
    """Evaluations without a better AP after which training ends; 0 for never."""
    validation_loss: bool = _option(False, "train.validation_loss TEST.VALIDATION_LOSS")
    """Log the losses on the test data."""
    num_pictures: int = _option(0, "train.num_pictures TEST.NUM_PICTURES", at_least=0)
    """Test images whose detections TensorBoard shows."""
    log_period: int = _option(20, "train.log_period SOLVER.LOG_PERIOD", at_least=1)
    """Iterations between lines of the log."""
    wandb_project: str = _option("", "train.wandb_project WANDB_PROJECT")
    """Project of Weights & Biases to log to."""
    mlflow_experiment: str = _option("", "train.mlflow_experiment MLFLOW_EXPERIMENT")
    """Experiment of MLflow to log to, at MLFLOW_TRACKING_URI."""

    def __post_init__(self):
        for item in fields(self):
            name, rules = item.name, item.metadata
            value, at_least, choices = getattr(self, name), rules["at_least"], rules["choices"]
            self._check(name, _fits(value, item.type), f"of type {_type_name(item.type)}")
            too_small = None not in (at_least, value) and value < at_least
            self._check(name, not too_small, f"at least {at_least}")
            self._check(name, not choices or value in choices, " or ".join(choices))
        self._check("epochs", self.epochs is None or self.epochs > 0, "above 0")
        for name in ("min_visible", "mosaic_prob", "mosaic_close", "copy_paste_prob"):
            self._check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        self._check("merge_sigma", self.merge_sigma > 0, "above 0")
        positive = all(_fits(x, float) and x > 0 for x in self.merge_weights)
        self._check("merge_weights", positive, "numbers above 0")
        self._check("ema_decay", 0 <= self.ema_decay < 1, "at least 0 and below 1")
        for name in ("best_checkpoint", "eval_period"):
            needed = self.early_stopping == 0 or getattr(self, name)
            self._check("early_stopping", needed, f"0 without {keys_of(name)}")

    def _check(self, name: str, fulfilled: bool, rule: str) -> None:
        if not fulfilled:
            raise ValueError(f"{keys_of(name)} should be {rule}, not {getattr(self, name)!r}")


_FIELDS: dict[str, Field] = {item.name: item for item in fields(Options)}


def all_options() -> Iterator[tuple[str, Keys, Any]]:
    """Name, keys and default of each option."""
    defaults = Options()
    for name in _FIELDS:
        yield name, keys_of(name), getattr(defaults, name)


def keys_of(name: str) -> Keys:
    """The keys of an option."""
    return _FIELDS[name].metadata["keys"]


def default_options(group: str) -> dict:
    """Options of LazyConfig below a key, such as "train", with their defaults.

    Returns:
        Nested dictionaries, as configs have them.
    """
    result: dict = {}
    for _, keys, default in all_options():
        first, *folders, last = (keys.lazy or ".").split(".")
        if first == group:
            node = result
            for folder in folders:
                node = node.setdefault(folder, {})
            node[last] = default
    return result


def _fits(value: Any, kind: Any) -> bool:
    # Whole numbers are fractions, too; True and False are neither.
    kinds = get_args(kind) or (kind,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else kinds)


def _type_name(kind: Any) -> str:
    return " or ".join(x.__name__ for x in get_args(kind)) or kind.__name__
