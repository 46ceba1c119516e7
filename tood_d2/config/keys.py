"""The keys that TOOD adds to Detectron2's CfgNode."""

from detectron2.config import CfgNode as CN


def add_tood_config(cfg: CN) -> None:
    """Adds TOOD's keys to a config, with the values of the official R-50 1x model."""
    _add_model(cfg)
    _add_data(cfg)
    _add_training(cfg)


def _add_model(cfg: CN) -> None:
    cfg.MODEL.TOOD = node = CN()

    node.NUM_CLASSES = 80
    # Feature maps of the backbone, from fine to coarse.
    node.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]

    # "TaskAlignedHead" or "ParallelHead": two branches of NUM_CONVS convolutions each.
    node.HEAD = "TaskAlignedHead"
    # "anchor_free" (distances to the four sides) or "anchor_based" (deltas of an anchor).
    node.ANCHOR_TYPE = "anchor_free"
    # Number of (interactive) layers, and the channels of each.
    node.NUM_CONVS = 6
    node.CONV_DIM = 256
    # How many of them, the first ones, are modulated deformable convolutions.
    node.NUM_DEFORM_CONVS = 0
    # Normalisation after each convolution, as detectron2.layers.get_norm names it.
    node.NORM = "GN"
    # Class probability and class alignment before training.
    node.PRIOR_PROB = 0.01
    # Task-aligned head: whether to align scores (the map M) and boxes (the offsets O).
    node.ALIGN_CLS = True
    node.ALIGN_BOXES = True
    # Task-aligned head: whether to compute its layers anew in the backward pass, to save memory.
    node.CHECKPOINT_HEAD = False
    # Parallel head: whether to predict centre-ness, for ATSS.
    node.CENTERNESS = False

    # Task alignment learning: metric t = score^ALPHA * IoU^BETA.
    node.ASSIGNER = CN()
    # Candidates per ground-truth box.
    node.ASSIGNER.TOPK = 13
    node.ASSIGNER.ALPHA = 1.0
    node.ASSIGNER.BETA = 6.0
    # Who gets an anchor that several boxes want: the larger "iou" (official code) or the
    # smaller "area" (the paper's supplement).
    node.ASSIGNER.CONFLICT = "iou"

    # Initial phase, in which anchors are assigned by ATSS: 4 epochs of COCO at 16 images per
    # batch. 0 for none, -1 for all of training.
    node.INITIAL_PHASE = CN()
    node.INITIAL_PHASE.ITERS = 29320
    # Candidates per ground-truth box and level.
    node.INITIAL_PHASE.TOPK = 9
    node.INITIAL_PHASE.FOCAL_LOSS_ALPHA = 0.25

    # Losses of both phases.
    node.FOCAL_LOSS_GAMMA = 2.0
    node.BOX_LOSS_WEIGHT = 2.0

    # Inference; TEST.DETECTIONS_PER_IMAGE is the number of detections kept.
    node.SCORE_THRESH_TEST = 0.05
    # Number of (location, class) pairs per level that go into NMS.
    node.TOPK_CANDIDATES_TEST = 1000
    node.NMS_THRESH_TEST = 0.6


def _add_data(cfg: CN) -> None:
    # COCO JSON files and the folders of their images, instead of DATASETS.TRAIN and TEST. Number
    # and names of the classes are read from them.
    cfg.DATASETS.TRAIN_JSON = ""
    cfg.DATASETS.TRAIN_IMAGES = ""
    cfg.DATASETS.TEST_JSON = ""
    cfg.DATASETS.TEST_IMAGES = ""
    # Filled in by train_net.py for those who use the trained model.
    cfg.DATASETS.CLASS_NAMES = []
    # Images that turn out to be unreadable in training, and are replaced, before training ends.
    cfg.DATALOADER.MAX_UNREADABLE = 10


def _add_training(cfg: CN) -> None:
    # Whether to scale learning rate and lengths to the batch size, see config/schedule.py, and
    # the batch size that they are written for.
    cfg.SOLVER.SCALE_SCHEDULE = False
    cfg.SOLVER.REFERENCE_BATCH_SIZE = 16
    # Length of training in epochs, to which all lengths are stretched; None to train for MAX_ITER.
    cfg.SOLVER.EPOCHS = None
    # Batches whose mean gradient makes a step.
    cfg.SOLVER.GRADIENT_ACCUMULATION = 1
    # Steps with losses or gradients that are not finite that are left out before training ends.
    cfg.SOLVER.MAX_NONFINITE_STEPS = 0
    # Of automatic mixed precision: "float16" or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Whether channels are next to each other in memory, as some kernels want them.
    cfg.SOLVER.CHANNELS_LAST = False
    # Whether to compile the head by torch.compile.
    cfg.SOLVER.COMPILE_HEAD = False
    # Exponential moving average of the weights, evaluated and saved beside them.
    cfg.SOLVER.EMA = CN({"ENABLED": False, "DECAY": 0.9998})
    # How many of the latest checkpoints are kept.
    cfg.SOLVER.CHECKPOINTS_TO_KEEP = 100
    # Whether to keep the weights with the best AP as model_best.pth.
    cfg.TEST.BEST_CHECKPOINT = True
    # Evaluations without a better AP after which training ends, 0 for never.
    cfg.TEST.EARLY_STOPPING = 0
    # Whether to log the losses on the test data.
    cfg.TEST.VALIDATION_LOSS = False
    # Test images whose detections are put into TensorBoard at each evaluation.
    cfg.TEST.NUM_PICTURES = 0
    # Project of Weights & Biases to log to, "" for none.
    cfg.WANDB_PROJECT = ""
