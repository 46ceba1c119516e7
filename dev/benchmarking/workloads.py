"""What can be measured of a detector: inference and its parts, training, assignment.

R anchors in all levels, M ground-truth boxes, K classes. Inputs are random, the same for every
contender. Boxes are XYXY in pixels.
"""

import math
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from count_flops import count_flops
from PIL import Image
from torch import Tensor

from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tood_d2 import optimize_for_inference
from tood_d2.data.images import read_image
from tood_d2.inference.predictor import ImagePredictor
from tood_d2.inference.runtimes import ExportedPredictor, load_exported

from .contenders import Contender
from .measuring import Call

MIN_OBJECT = 8  # pixels


class Point(NamedTuple):
    """Of a sweep."""

    size: tuple[int, int]
    """(height, width) of the images."""
    batch: int = 1
    """Number of images."""
    objects: int = 0
    """Number of ground-truth boxes of each image."""


Workload = Callable[[Point], Call]
"""Makes the call to measure at a point."""


def inference(contender: Contender) -> Workload:
    """From images to detections."""
    if contender.is_exported:
        dtype = str(contender.dtype).removeprefix("torch.") if contender.optimize else None
        as_built, model = None, load_exported(contender.path, contender.requests, dtype)
    else:
        as_built = model = contender.build_model()
        if contender.optimize:
            model = optimize_for_inference(as_built, contender.dtype, contender.compile)

    @torch.no_grad()
    def run(batch: list[dict]) -> list[dict]:
        with contender.autocast():
            return model(batch)

    def make(point: Point) -> Call:
        if contender.compile:
            torch.compiler.reset()  # else the next size would be compiled for any size
        flops = as_built and point.batch * count_flops(as_built, *point.size)[""]
        batch = _batch(point, contender.device)
        return Call(lambda: run(batch), flops=flops)

    return make


def training(contender: Contender) -> Workload:
    """One step: forward pass, losses, backward pass, update by SGD with momentum.

    The learning rate is 0, which takes as long, so that all steps find the same weights. A TOOD is
    past its initial phase, unless that has no end.
    """
    model = contender.build_training_model()
    model.initial_phase_iters = min(getattr(model, "initial_phase_iters", 0), 0)
    parameters = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=1e-4)
    scales = contender.dtype == torch.float16
    grad_scaler = torch.amp.GradScaler(contender.device.type, enabled=scales)

    def step(batch: list[dict]) -> None:
        try:
            with EventStorage(), contender.autocast():
                loss = sum(model(batch).values())
            grad_scaler.scale(loss).backward()
            grad_scaler.step(optimizer)
            grad_scaler.update()
        finally:
            optimizer.zero_grad()  # also for the memory of the contenders that follow

    def make(point: Point) -> Call:
        batch = _batch(point, contender.device, getattr(model, "num_classes", 1))
        return Call(lambda: step(batch))

    return make


def assignment(contender: Contender) -> Workload:
    """The ground truth of one image to its anchors, by the model's assigner.

    Raises:
        ValueError: if the model has none.
    """
    model = contender.build_model()
    if not hasattr(model, "assigner"):
        raise ValueError(f"{type(model).__name__} has no assigner")
    generator = model.head.anchor_generator.cpu()

    def make(point: Point) -> Call:
        random = torch.Generator().manual_seed(0)
        gt = random_instances(point.objects, point.size, model.num_classes, random)
        shapes = [[math.ceil(x / stride) for x in point.size] for stride in generator.strides]
        anchors = Boxes.cat(generator([torch.zeros(1, 1, *shape) for shape in shapes]))
        inputs = (
            torch.rand(len(anchors), model.num_classes, generator=random),
            random_predictions(anchors, gt.gt_boxes, random),
            anchors,
            gt.gt_boxes,
            gt.gt_classes,
        )
        inputs = [x.to(contender.device) for x in inputs]
        return Call(lambda: model.assigner(*inputs))

    return make


def postprocessing(contender: Contender) -> Workload:
    """From dense predictions of one image to detections.

    Class logits are random, as a trained detector's: one score in 300 is above 0.05. Boxes (and
    centre-ness) are what the untrained head predicts.

    Raises:
        ValueError: if the model is not one of Detectron2's dense detectors.
    """
    model = contender.build_model()
    if not isinstance(model, DenseDetector):
        raise ValueError(f"{type(model).__name__} is not a DenseDetector")

    @torch.no_grad()
    def make(point: Point) -> Call:
        images = model.preprocess_image(_batch(point, contender.device))
        features = model.backbone(images.tensor)
        features = [features[name] for name in model.head_in_features]
        pred_logits, *others = model.head(features)
        random = torch.Generator().manual_seed(0)
        pred_logits = [
            (1.5 * torch.randn(x.shape, generator=random) - 7).to(x) for x in pred_logits
        ]

        def prepare() -> tuple[list[list[Tensor]]]:
            # Detectron2's detectors change them in place.
            return ([[x.clone() for x in levels] for levels in (pred_logits, *others)],)

        @torch.no_grad()
        def run(predictions: list[list[Tensor]]) -> list[Instances]:
            return model.forward_inference(images, features, predictions)

        return Call(run, prepare)

    return make


def preparation(contender: Contender) -> Workload:
    """From a JPEG file to the input of the network, which normalises it."""
    run = contender.load_run()
    predictor = ImagePredictor(None, run.test_augmentations(), run.options.input_format, [], [])

    def make(point: Point) -> Call:
        folder = TemporaryDirectory()  # exists as long as the call
        path = _write_jpeg(folder.name, point.size)
        return Call(lambda: folder and predictor.batched_input(read_image(path, "RGB")))

    return make


def files(contender: Contender) -> Workload:
    """From JPEG files, one after the other, to detections.

    Raises:
        ValueError: if the model is not an exported one.
    """
    if not contender.is_exported:
        raise ValueError("files are for exported models")
    predictor = ExportedPredictor(contender.path, contender.requests)

    def make(point: Point) -> Call:
        folder = TemporaryDirectory()
        path = _write_jpeg(folder.name, point.size)

        def run() -> list[Instances]:
            images = (read_image(path, "RGB") for _ in range(point.batch))
            return folder and [*predictor.detect_all(images)]

        return Call(run)

    return make


def _write_jpeg(folder: str, size: tuple[int, int]) -> str:
    """An image as smooth as photographs, whose files have about two bits a pixel."""
    small = np.random.default_rng(0).integers(256, size=(*(x // 4 for x in size), 3))
    path = f"{folder}/image.jpg"
    Image.fromarray(small.astype(np.uint8)).resize(size[::-1]).save(path, quality=90)
    return path


_ALL = inference, training, assignment, postprocessing, preparation, files
WORKLOADS = {f.__name__: f for f in _ALL}


def random_instances(
    num_objects: int, size: tuple[int, int], num_classes: int, random: torch.Generator
) -> Instances:
    """Ground truth anywhere in an image of (height, width).

    Widths and heights are uniform in their logarithm, from 8 pixels to half the image's short
    side.
    """
    max_object = max(min(size) / 2, MIN_OBJECT)
    numbers = torch.rand(4, num_objects, generator=random)
    sides = MIN_OBJECT * (numbers[:2] * math.log(max_object / MIN_OBJECT)).exp()  # (2, M)
    corners = numbers[2:] * (torch.tensor([[size[1]], [size[0]]]) - sides)
    return Instances(
        size,
        gt_boxes=Boxes(torch.cat((corners, corners + sides)).T.contiguous()),
        gt_classes=torch.randint(num_classes, (num_objects,), generator=random),
    )


def random_predictions(anchors: Boxes, gt_boxes: Boxes, random: torch.Generator) -> Boxes:
    """(R,) boxes: anchors, with those that are inside the nearest object drawn towards it.

    They go a random part of the way, so that some fit well and many badly, as a detector's do while
    it learns.
    """
    centers = anchors.get_centers()
    # In parts, for the memory of the distances.
    nearest = [torch.cdist(x, gt_boxes.get_centers()).argmin(dim=1) for x in centers.split(4096)]
    objects = gt_boxes.tensor[torch.cat(nearest)]
    inside = ((centers > objects[:, :2]) & (centers < objects[:, 2:])).all(dim=1, keepdim=True)
    progress = torch.rand(len(anchors), 1, generator=random) * inside
    return Boxes(torch.lerp(anchors.tensor, objects, progress))


def _batch(point: Point, device: torch.device, num_classes: int | None = None) -> list[dict]:
    """Input of a Detectron2 model on the device, with ground truth if ``num_classes`` is given."""
    random = torch.Generator().manual_seed(0)
    shape = (point.batch, 3, *point.size)
    images = torch.randint(256, shape, generator=random, dtype=torch.uint8)
    batch = [{"image": image.to(device)} for image in images]
    for sample in batch if num_classes else []:
        gt = random_instances(point.objects, point.size, num_classes, random)
        sample["instances"] = gt.to(device)
    return batch
