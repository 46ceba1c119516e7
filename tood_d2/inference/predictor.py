"""Detection on images as they are in files."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

import detectron2.data.transforms as T
from detectron2.structures import Instances
from detectron2.utils.file_io import PathManager

from ..checkpoint import find_class_names, load_weights, read_checkpoint
from ..config.run import Run
from ..data.loading.augmentations import LimitAspectRatio
from .augmentation import DenseDetectorWithTTA
from .merging import build_merging
from .optimization import find_dtype, optimize_for_inference

logger = logging.getLogger(__name__)


def load_detector(
    run: Run, *, optimize: str | None = None, tta: bool = False, resume_dir: str = ""
) -> nn.Module:
    """The trained model of a run, in evaluation mode.

    Args:
        run: of :func:`.load_run`; names the weights.
        optimize: type of :func:`.find_dtype` in which :func:`optimize_for_inference` makes the
            model run, None for the model as it was trained.
        tta: whether it detects by test-time augmentation.
        resume_dir: see :func:`load_weights`.

    Raises:
        OSError, ValueError: see :func:`load_weights`.
        TypeError: if ``optimize`` is given for a model that is no dense detector.
        ValueError: if the config has no test-time augmentation.
    """
    path, key = run.options.init_checkpoint, run.key("init_checkpoint")
    if run.options.min_object_size:
        logger.warning(
            f"{run.key('min_object_size')} is set: training may have chosen another input size "
            "than this config has. The config.yaml in its output folder has that size"
        )
    model = load_weights(run.build_model(), path, key, resume_dir)
    if optimize is not None:
        model = optimize_for_inference(model, find_dtype(optimize, model.device))
    return with_tta(run, model) if tta else model


def with_tta(run: Run, model: Callable[[list[dict]], list[dict]]) -> DenseDetectorWithTTA:
    """A detector with the test-time augmentation of a run.

    Args:
        run: tells the versions of an image, and how their detections are merged.
        model: of the run, or one that was exported of it.

    Raises:
        ValueError: if the config has no test-time augmentation.
    """
    merging = build_merging(run.options, model)
    return DenseDetectorWithTTA(model, run.tta_mapper(), run.options.input_format, merging)


class ImagePredictor:
    """Resizes images as in testing and detects.

    The arguments are attributes, too, except the augmentations.
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
            model: takes and gives what Detectron2's models do in evaluation mode.
            augmentations: from an image to the model's input.
            input_format: the model's channels, "RGB", "BGR" or "L".
            class_names: of the classes that it detects.
            category_ids: of the classes in their data set.
        """
        self.model, self.input_format = model, input_format
        self.augmentation = T.AugmentationList(augmentations)
        self.class_names, self.category_ids = class_names, category_ids

    def __call__(self, image: np.ndarray) -> dict[str, Instances]:
        """Detects as ``detectron2.engine.DefaultPredictor`` does.

        Args:
            image: (H, W, 3) uint8, BGR, as OpenCV reads it.

        Returns:
            "instances", the detections on the CPU: ``pred_boxes`` in pixels of the image,
            ``scores``, ``pred_classes``.
        """
        return {"instances": self.detect([image[:, :, ::-1]])[0]}

    @torch.no_grad()
    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detects in a batch of images, (H, W, 3) uint8, **RGB**; see :meth:`__call__`."""
        outputs = self.model([self.batched_input(image) for image in images])
        return [x["instances"].to("cpu") for x in outputs]

    def detect_all(self, images: Iterable[np.ndarray], batch_size: int = 1) -> Iterator[Instances]:
        """Detects in any number of images, some at a time.

        Args:
            images: see :meth:`detect`; taken as they are needed.
            batch_size: how many are detected in together.

        Returns:
            The detections of each image, in their order.
        """
        images = iter(images)
        while batch := list(itertools.islice(images, batch_size)):
            yield from self.detect(batch)

    def batched_input(self, image: np.ndarray) -> dict:
        """What the model takes of an image (RGB): "image", resized, and its "height" and "width".

        The tensor is (C, H, W) uint8 in the order of the model's channels.
        """
        height, width = image.shape[:2]
        if self.input_format == "L":
            image = np.array(Image.fromarray(image).convert("L"))[:, :, None]
        aug_input = T.AugInput(LimitAspectRatio().get_transform(image).apply_image(image))
        self.augmentation(aug_input)
        channels = slice(None, None, -1) if self.input_format == "BGR" else slice(None)
        pixels = aug_input.image[:, :, channels].transpose(2, 0, 1)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        return {"image": tensor, "height": height, "width": width}


class Predictor(ImagePredictor):
    """What ``detectron2.engine.DefaultPredictor`` does, for configs of both kinds.

    Weights have to be complete. Classes whose names the config does not tell are called as the
    checkpoint calls them.

    Attributes:
        run: with the names of the classes, if they are known.
    """

    def __init__(self, run: Run, *, optimize: str | None = None, tta: bool = False):
        """See :func:`load_detector`."""
        model = load_detector(run, optimize=optimize, tta=tta)
        if not run.known_class_names:
            weights = PathManager.get_local_path(run.options.init_checkpoint)
            run = run.with_options(class_names=find_class_names(read_checkpoint(weights)))
        self.run = run
        augmentations = [] if tta else run.test_augmentations()
        names, ids = run.class_names, run.category_ids
        super().__init__(model, augmentations, run.options.input_format, names, ids)
