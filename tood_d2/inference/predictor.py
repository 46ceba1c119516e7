"""Detection on images as they are in files."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from omegaconf import DictConfig

import detectron2.data.transforms as T
from detectron2.config import CfgNode, instantiate
from detectron2.data.detection_utils import build_augmentation
from detectron2.structures import Instances

from ..checkpoint.trained_weights import load_weights, weights_of
from ..config.datasets import category_ids, class_names
from ..config.loading import build_model
from .augmentation_of_config import with_tta
from .optimization import optimize_for_inference


class ImagePredictor:
    """Resizes images as in testing and detects.

    Attributes:
        model: takes and gives what Detectron2's models do in evaluation mode.
        class_names: of the classes that it detects.
        category_ids: of the classes in their data set.
    """

    def __init__(
        self,
        model: Callable[[list[dict]], list[dict]],
        augmentations: Sequence[T.Augmentation],
        input_format: str,
        class_names: list[str],
        category_ids: list[int],
    ):
        """
        Args:
            model, class_names, category_ids: see above.
            augmentations: from an image to the model's input.
            input_format: order of the model's channels, "RGB" or "BGR".
        """
        self.model = model
        self.augmentation = T.AugmentationList(augmentations)
        self.input_format = input_format
        self.class_names = class_names
        self.category_ids = category_ids

    def __call__(self, image: np.ndarray) -> Instances:
        """
        Args:
            image: (H, W, 3) uint8, BGR.

        Returns:
            The detections on the CPU: ``pred_boxes`` in pixels of the image, ``scores``,
            ``pred_classes``.
        """
        return self.detect([image])[0]

    @torch.no_grad()
    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detects in one batch; see :meth:`__call__`."""
        outputs = self.model([self.batched_input(image) for image in images])
        return [x["instances"].to("cpu") for x in outputs]

    def batched_input(self, image: np.ndarray) -> dict:
        """What the model takes of an image: "image", resized, and its "height" and "width"."""
        height, width = image.shape[:2]
        if self.input_format == "RGB":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self.augmentation(aug_input)
        tensor = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}


class Predictor(ImagePredictor):
    """What ``detectron2.engine.DefaultPredictor`` does, for LazyConfig as well.

    Weights have to be complete.
    """

    def __init__(
        self, cfg: CfgNode | DictConfig, *, optimize: torch.dtype | None = None, tta: bool = False
    ):
        """
        Args:
            cfg: names the weights in ``MODEL.WEIGHTS`` or ``train.init_checkpoint``.
            optimize: type in which :func:`optimize_for_inference` makes the model run, None for
                the model as it was trained.
            tta: whether to detect by test-time augmentation, see :func:`with_tta`.

        Raises:
            FileNotFoundError, ValueError: see :func:`load_weights`.
            TypeError, ValueError: see :func:`optimize_for_inference`.
            ValueError: see :func:`with_tta`.
        """
        model = load_weights(build_model(cfg), *weights_of(cfg))
        if optimize is not None:
            model = optimize_for_inference(model, optimize)
        if isinstance(cfg, CfgNode):
            augmentations = build_augmentation(cfg, is_train=False)
            input_format = cfg.INPUT.FORMAT
        else:
            mapper = cfg.dataloader.test.mapper
            augmentations = [instantiate(x) for x in mapper.augmentations]
            input_format = mapper.image_format
        if tta:
            model, augmentations = with_tta(model, cfg), []
        super().__init__(model, augmentations, input_format, class_names(cfg), category_ids(cfg))
