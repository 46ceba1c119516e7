"""What can be measured of a detector: inference, training, assignment, post-processing.

R anchors in all levels, M ground-truth boxes, K classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.utils.events import EventStorage
from tood_d2.config.options import TrainingOptions
from tood_d2.engine.trainer import prepare_model

from .comparing import Call, describe_error
from .contenders import Contender
from .inputs import (
    STRIDES,
    grid_anchors,
    random_images,
    random_instances,
    random_logits,
    random_predictions,
)


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


def inference(contender: Contender, device: torch.device, seed: int) -> Workload:
    """From images on the device to detections. Without optimisation, other types are autocast."""
    model = contender.build_inference_model(seed)
    autocast = _autocast(contender, device, enabled=not contender.optimize)

    @torch.no_grad()
    def run(batch: list[dict]) -> list[dict]:
        with autocast:
            return model(batch)

    def make(point: Point) -> Call:
        if contender.compile:
            torch.compiler.reset()  # else the next size would be compiled for any size
        batch = _batch(point, device, seed)
        return Call(lambda: run(batch))

    return make


def training(contender: Contender, device: torch.device, seed: int) -> Workload:
    """One step: forward pass, losses, backward pass, update by SGD with momentum.

    Memory format and compilation are those of the config. The learning rate is 0, which takes as
    long, so that all steps find the same weights. A TOOD is in the phase of task alignment
    learning, or in its initial phase if that is wanted.
    """
    model = contender.build_model(seed).train()
    prepare_model(model, TrainingOptions.from_config(contender.cfg))
    if hasattr(model, "initial_phase_iters"):
        model.initial_phase_iters = -1 if contender.initial_phase else 0
    num_classes = getattr(model, "num_classes", 1)
    parameters = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=1e-4)
    grad_scaler = torch.amp.GradScaler(device.type, enabled=contender.dtype == torch.float16)
    autocast = _autocast(contender, device)

    def step(batch: list[dict]) -> None:
        try:
            with EventStorage(), autocast:
                loss = sum(model(batch).values())
            grad_scaler.scale(loss).backward()
            grad_scaler.step(optimizer)
            grad_scaler.update()
        finally:
            optimizer.zero_grad()  # also for the memory of the contenders that follow

    def make(point: Point) -> Call:
        batch = _batch(point, device, seed, num_classes)
        return Call(lambda: step(batch))

    return make


def assignment(contender: Contender, device: torch.device, seed: int) -> Workload:
    """The ground truth of one image to its anchors, by ``cfg.model.assigner``.

    Raises:
        ValueError: if the config has none.
    """
    num_classes = contender.num_classes
    assigner = contender.build_part("model.assigner")
    if assigner is None:
        raise ValueError("the config has no model.assigner")
    anchor_generator = contender.build_part("model.head.anchor_generator")
    anchor_generator = anchor_generator or DefaultAnchorGenerator(
        sizes=[[8 * stride] for stride in STRIDES],
        aspect_ratios=[[1.0]],
        strides=list(STRIDES),
        offset=0.0,
    )

    def make(point: Point) -> Call:
        generator = torch.Generator().manual_seed(seed)
        gt = random_instances(point.objects, point.size, num_classes, generator)
        anchors = grid_anchors(anchor_generator, point.size)
        pred_boxes = random_predictions(anchors, gt.gt_boxes, generator).to(device)
        pred_scores = torch.rand(len(anchors), num_classes, generator=generator).to(device)
        anchors, gt = anchors.to(device), gt.to(device)
        return Call(lambda: assigner(pred_scores, pred_boxes, anchors, gt.gt_boxes, gt.gt_classes))

    return make


def postprocessing(contender: Contender, device: torch.device, seed: int) -> Workload:
    """From dense predictions of one image to detections.

    Class logits are random, boxes (and centre-ness) what the untrained head predicts.

    Raises:
        ValueError: if the model is not one of Detectron2's dense detectors.
    """
    model = contender.build_inference_model(seed)
    if not isinstance(model, DenseDetector):
        raise ValueError(f"{type(model).__name__} is not a DenseDetector")

    @torch.no_grad()
    def make(point: Point) -> Call:
        images = model.preprocess_image(_batch(point, device, seed))
        features = model.backbone(images.tensor)
        features = [features[name] for name in model.head_in_features]
        pred_logits, *others = model.head(features)
        generator = torch.Generator().manual_seed(seed)
        pred_logits = [random_logits(x, generator) for x in pred_logits]

        def prepare() -> tuple[list[list[Tensor]]]:
            # Detectron2's detectors change them in place.
            return ([[x.clone() for x in levels] for levels in (pred_logits, *others)],)

        @torch.no_grad()
        def run(predictions: list[list[Tensor]]):
            return model.forward_inference(images, features, predictions)

        return Call(run, prepare)

    return make


WORKLOADS = {
    "inference": inference,
    "training": training,
    "assignment": assignment,
    "postprocessing": postprocessing,
}


def build_workloads(
    command: str, contenders: list[Contender], device: torch.device, seed: int
) -> dict[str, Workload]:
    """The workloads of a benchmark by the contender's name.

    Raises:
        ValueError: if a contender is not fit for it, with its name.
    """
    workloads = {}
    for contender in contenders:
        try:
            workloads[contender.name] = WORKLOADS[command](contender, device, seed)
        except Exception as error:  # the model may be anyone's
            raise ValueError(f"{contender.name}: {describe_error(error)}") from error
    return workloads


def _batch(
    point: Point, device: torch.device, seed: int, num_classes: int | None = None
) -> list[dict]:
    """Input of a Detectron2 model on the device, with ground truth if ``num_classes`` is given."""
    generator = torch.Generator().manual_seed(seed)
    images = random_images(point.batch, point.size, generator).to(device)
    batch = [{"image": image} for image in images]
    if num_classes is not None:
        for x in batch:
            gt = random_instances(point.objects, point.size, num_classes, generator)
            x["instances"] = gt.to(device)
    return batch


def _autocast(contender: Contender, device: torch.device, enabled: bool = True):
    enabled = enabled and contender.dtype != torch.float32
    return torch.autocast(device.type, contender.dtype if enabled else None, enabled=enabled)
