"""Detection on single images, from a config of either kind."""

import numpy as np
import torch
from omegaconf import DictConfig

import detectron2.data.transforms as T
from detectron2.config import CfgNode, instantiate
from detectron2.data.detection_utils import build_augmentation
from detectron2.structures import Instances

from ..inference import optimize_for_inference
from .checkpointing import load_weights
from .config import build_model
from .datasets import class_names


class Predictor:
    """Reads an image, resizes it as in testing and detects.

    What ``detectron2.engine.DefaultPredictor`` does, for LazyConfig as well, with complete
    weights only.

    Attributes:
        model: in evaluation mode.
        class_names: of the classes that it detects.
    """

    def __init__(self, cfg: CfgNode | DictConfig, *, optimize: torch.dtype | None = None):
        """
        Args:
            cfg: names the weights in ``MODEL.WEIGHTS`` or ``train.init_checkpoint``.
            optimize: type in which :func:`optimize_for_inference` makes the model run, None for
                the model as it was trained.

        Raises:
            FileNotFoundError, ValueError: see :func:`load_weights`.
            TypeError, ValueError: see :func:`optimize_for_inference`.
        """
        self.model = load_weights(build_model(cfg), cfg)
        if optimize is not None:
            self.model = optimize_for_inference(self.model, optimize)
        if isinstance(cfg, CfgNode):
            augmentations = build_augmentation(cfg, is_train=False)
            self.input_format = cfg.INPUT.FORMAT
        else:
            mapper = cfg.dataloader.test.mapper
            augmentations = [instantiate(x) for x in mapper.augmentations]
            self.input_format = mapper.image_format
        self.augmentation = T.AugmentationList(augmentations)
        self.class_names = class_names(cfg)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> Instances:
        """
        Args:
            image: (H, W, 3) uint8, BGR.

        Returns:
            The detections on the CPU: ``pred_boxes`` in pixels of the image, ``scores``,
            ``pred_classes``.
        """
        height, width = image.shape[:2]
        if self.input_format == "RGB":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self.augmentation(aug_input)
        tensor = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        output = self.model([{"image": tensor, "height": height, "width": width}])
        return output[0]["instances"].to("cpu")
