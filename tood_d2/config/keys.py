"""The keys that TOOD adds to Detectron2's CfgNode."""

from detectron2.config import CfgNode as CN

from .options import all_options


def add_tood_config(cfg: CN) -> None:
    """Adds TOOD's keys to a config, with the values of the official R-50 1x model."""
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
    # For small objects: pixels of the network input that the region of a box's anchors has at
    # least on each side, and anchors that each object gets at least; 0 for none.
    node.ASSIGNER.MIN_CANDIDATE_SIZE = 0.0
    node.ASSIGNER.MIN_POSITIVES = 0

    # Initial phase, in which anchors are assigned by ATSS: 4 epochs of COCO at 16 images per
    # batch. 0 for none, -1 for all of training.
    node.INITIAL_PHASE = CN()
    node.INITIAL_PHASE.ITERS = 29320
    # Candidates per ground-truth box and level.
    node.INITIAL_PHASE.TOPK = 9
    # As those of ASSIGNER.
    node.INITIAL_PHASE.MIN_CANDIDATE_SIZE = 0.0
    node.INITIAL_PHASE.MIN_POSITIVES = 0
    node.INITIAL_PHASE.FOCAL_LOSS_ALPHA = 0.25

    # Losses of both phases.
    node.FOCAL_LOSS_GAMMA = 2.0
    node.BOX_LOSS_WEIGHT = 2.0

    # Inference; TEST.DETECTIONS_PER_IMAGE is the number of detections kept.
    node.SCORE_THRESH_TEST = 0.05
    # Number of (location, class) pairs per level that go into NMS.
    node.TOPK_CANDIDATES_TEST = 1000
    node.NMS_THRESH_TEST = 0.6
    # "hard", or Soft-NMS: "soft_linear" or "soft_gaussian" with this sigma.
    node.NMS_TYPE_TEST = "hard"
    node.SOFT_NMS_SIGMA_TEST = 0.5

    # Of build_tood_swin_fpn_backbone; see SwinBackbone. MODEL.BACKBONE.FREEZE_AT counts, too.
    node.SWIN = CN()
    node.SWIN.EMBED_DIM = 96
    # Blocks and heads of each stage.
    node.SWIN.DEPTHS = [2, 2, 6, 2]
    node.SWIN.NUM_HEADS = [3, 6, 12, 24]
    node.SWIN.WINDOW_SIZE = 7
    # Probability that the last block is left out in training.
    node.SWIN.DROP_PATH_RATE = 0.2
    # Of p0 to p3, of strides 4, 8, 16 and 32.
    node.SWIN.OUT_FEATURES = ["p1", "p2", "p3"]
    # Whether to compute blocks anew in the backward pass, to save memory.
    node.SWIN.CHECKPOINT = False

    # Of build_tood_regnet_fpn_backbone; see RegNetBackbone. MODEL.BACKBONE.FREEZE_AT counts, too.
    node.REGNET = CN()
    node.REGNET.STEM_WIDTH = 32
    # Blocks in all stages, and the slope, start and step factor of their widths.
    node.REGNET.DEPTH = 23
    node.REGNET.W_A = 38.65
    node.REGNET.W_0 = 96
    node.REGNET.W_M = 2.43
    # Channels of each group of the 3x3 convolutions.
    node.REGNET.GROUP_WIDTH = 40
    # Channels of squeeze-and-excitation (RegNetY) in relation to a block's inputs, 0 for none.
    node.REGNET.SE_RATIO = 0.0
    node.REGNET.NORM = "FrozenBN"
    # Of s1 to s4, of strides 4, 8, 16 and 32.
    node.REGNET.OUT_FEATURES = ["s2", "s3", "s4"]

    # Of build_tood_torchvision_fpn_backbone and build_tood_timm_fpn_backbone; see
    # TorchvisionBackbone and TimmBackbone. MODEL.BACKBONE.FREEZE_AT counts, too.
    node.CLASSIFIER = CN()
    node.CLASSIFIER.NAME = ""
    # Of res2 to res5, of strides 4, 8, 16 and 32.
    node.CLASSIFIER.OUT_FEATURES = ["res3", "res4", "res5"]
    # In place of each batch norm: "BN", "FrozenStatsBN", "FrozenBN" or "SyncBN".
    node.CLASSIFIER.NORM = "BN"
    # Of each feature, "" for none.
    node.CLASSIFIER.OUT_NORM = ""
    # Pairs of further arguments of the model and their values, such as [["width_mult", 0.5]].
    node.CLASSIFIER.SETTINGS = []

    for _, keys, default in all_options():
        if keys.yaml:
            *folders, name = keys.yaml.split(".")
            parent = cfg
            for folder in folders:
                parent = parent.setdefault(folder, CN())
            parent.setdefault(name, default)  # unless Detectron2 or a project has it already
