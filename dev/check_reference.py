#!/usr/bin/env python
"""Compares tood_d2 with outputs of the official implementation.

With ``--runtime`` models are exported and run by ONNX Runtime or OpenVINO, and their scores and
boxes are compared at the candidates of NMS.

Runs every ``head_*.npz`` and ``model_*.npz`` of a folder, prints the largest deviation of each
quantity and exits with 1 if one exceeds its tolerance or a case cannot be run, with 2 if the
folder holds no case. The files hold no weights or inputs; ``reference_inputs.py`` rebuilds them
bit for bit.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import reference_inputs
import torch
from torch import Tensor

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, ImageList, Instances
from tood_d2 import optimize_for_inference
from tood_d2.checkpoint import convert_official_state_dict
from tood_d2.config import Run, load_run
from tood_d2.modeling import TOOD, ATSSAssigner, TaskAlignedAssigner, TaskAlignedHead
from tood_d2.modeling.box_alignment import align_boxes, sample_sides

# Largest deviation, relative to the largest value of the map (scores, boxes) or to the value.
HEAD_TOLERANCES = {
    "scores": 1e-4,
    "boxes": 1e-4,
    "labels": 0,
    "targets": 1e-4,
    "loss_cls": 1e-5,
    "loss_box": 1e-5,
    "grad": 1e-3,
    "detections": 1e-4,
}
MODEL_TOLERANCES = {
    "scores": 1e-3,
    "boxes": 1e-3,
    "features": 1e-3,
    "parameters": 0,
    "detections": 1e-3,
}

RUNTIMES = {"onnx": ".onnx", "openvino": ".xml"}

CONFIGS = {
    "tood_r50_fpn_1x_coco": "tood_R_50_FPN_1x",
    "tood_r50_fpn_anchor_based_1x_coco": "tood_R_50_FPN_anchor_based_1x",
    "tood_r50_fpn_mstrain_2x_coco": "tood_R_50_FPN_2x",
    "tood_r101_fpn_mstrain_2x_coco": "tood_R_101_FPN_2x",
    "tood_r101_fpn_dconv_c3-c5_mstrain_2x_coco": "tood_R_101_DCN_FPN_2x",
    "tood_x101_64x4d_fpn_mstrain_2x_coco": "tood_X_101_64x4d_FPN_2x",
    "tood_x101_64x4d_fpn_dconv_c4-c5_mstrain_2x_coco": "tood_X_101_64x4d_DCN_FPN_2x",
}


class Deviations(dict):
    """The largest deviation of each quantity."""

    def add(self, name: str, actual, expected) -> None:
        """Records the largest absolute difference, relative to the largest expected value."""
        actual, expected = (
            np.asarray(x.detach() if isinstance(x, Tensor) else x, np.float64)
            for x in (actual, expected)
        )
        if actual.shape != expected.shape:
            deviation = np.inf
        elif not expected.size:
            deviation = 0.0
        else:
            scale = np.abs(expected).max()
            deviation = np.abs(actual - expected).max() / (scale if scale > 0 else 1.0)
        self.record(name, deviation)

    def record(self, name: str, deviation: float) -> None:
        # A NaN must never pass for a small value.
        deviation = np.inf if np.isnan(deviation) else float(deviation)
        self[name] = max(self.get(name, 0.0), deviation)

    def add_detections(self, actual: Instances, boxes, scores, classes) -> None:
        """Every expected detection must have a partner; the order is left to the scores."""
        if len(actual) != len(scores):
            return self.record("detections", np.inf)
        if not len(scores):
            return self.record("detections", 0.0)
        largest = max(np.abs(boxes).max(), 1e-12)
        free = torch.ones(len(actual), dtype=torch.bool)
        for box, score, cls in zip(boxes, scores, classes, strict=True):
            distance = (actual.pred_boxes.tensor - torch.from_numpy(box)).abs().amax(1) / largest
            distance = torch.maximum(distance, (actual.scores - score.item()).abs())
            distance[(actual.pred_classes != int(cls)) | ~free] = torch.inf
            nearest = int(distance.argmin())
            free[nearest] = False
            self.record("detections", distance[nearest].item())


class FeatureMaps(Backbone):
    """A backbone without weights, that gives the features which it was made with."""

    size_divisibility = 32

    def __init__(self, features: list[Tensor], strides: list[int]):
        super().__init__()
        self.features = {f"p{i}": feature for i, feature in enumerate(features)}
        self.shapes = {
            name: ShapeSpec(channels=feature.shape[1], stride=stride)
            for (name, feature), stride in zip(self.features.items(), strides, strict=True)
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.features

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self.shapes


def flatten(maps: list[Tensor]) -> Tensor:
    """L maps (N, D, Hi, Wi) -> (N, R, D)."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)


def build_head_model(meta: dict, features: list[Tensor]) -> TOOD:
    strides = meta["strides"]
    return TOOD(
        backbone=FeatureMaps(features, strides),
        head=TaskAlignedHead(
            in_channels=meta["in_channels"],
            num_classes=meta["num_classes"],
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[8 * stride] for stride in strides],
                aspect_ratios=[[1.0]],
                strides=strides,
                offset=0.0,
            ),
            anchor_type=meta["anchor_type"],
            conv_dim=meta["feat_channels"],
            num_convs=meta["stacked_convs"],
            num_deform_convs=meta["num_dcn"],
        ),
        head_in_features=None,
        num_classes=meta["num_classes"],
        assigner=TaskAlignedAssigner(),
        initial_assigner=ATSSAssigner(),
        initial_phase_iters=1,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
    )


def load_weights(model: TOOD, meta: dict) -> None:
    weights = reference_inputs.state_dict(meta["shapes"], meta["seed"])
    weights = {name: torch.from_numpy(array) for name, array in weights.items()}
    model.load_state_dict(convert_official_state_dict(weights), strict=True)


def check_maps(deviations: Deviations, case, logits, boxes, strides, level_names="bbox_{}") -> None:
    for level, stride in enumerate(strides):
        deviations.add("scores", logits[level].sigmoid(), case[f"cls_score_{level}"])
        deviations.add("boxes", boxes[level] / stride, case[level_names.format(level)])


def check_head(case, meta: dict) -> Deviations:
    deviations = Deviations()
    height, width = meta["image_size"]
    num_images = len(meta["gt_counts"])
    seed = meta["seed"]
    features = [
        torch.from_numpy(x).requires_grad_()
        for x in reference_inputs.features(
            meta["in_channels"], meta["feature_sizes"], num_images, seed + 1
        )
    ]
    model = build_head_model(meta, features)
    load_weights(model, meta)
    gt_instances = [
        Instances(
            (height, width),
            gt_boxes=Boxes(torch.from_numpy(boxes)),
            gt_classes=torch.from_numpy(classes),
        )
        for boxes, classes in reference_inputs.ground_truth(
            meta["gt_counts"], height, width, meta["num_classes"], seed + 2
        )
    ]
    images = ImageList(torch.zeros(num_images, 3, height, width), [(height, width)] * num_images)

    anchors = model.head.anchor_generator(features)
    pred_logits, pred_boxes = model.head(features)
    check_maps(deviations, case, pred_logits, pred_boxes, meta["strides"])
    for level, stride in enumerate(meta["strides"]):
        with torch.no_grad():
            head = model.head
            task_features = head.task_features(head.interactive_features(features[level]))
            boxes = head.decode(head.box_reg(task_features.box), anchors[level], level)
            offsets = task_features.offsets
            for name, stage in (
                ("bbox_unaligned", boxes),
                ("bbox_raw", sample_sides(boxes, offsets)),
                ("bbox", align_boxes(boxes, offsets)),
            ):
                deviations.add("boxes", stage / stride, case[f"{name}_{level}"])

    names = {
        str(name): next(iter(convert_official_state_dict({str(name): None})))
        for name in case["tal_grad_names"]
    }
    parameters = dict(model.named_parameters())
    for phase, is_initial in (("atss", True), ("tal", False)):
        for tensor in (*features, *parameters.values()):
            tensor.grad = None
        predictions = model.head(features)
        losses = model.forward_training(images, anchors, predictions, gt_instances, is_initial)
        targets = model.label_anchors(
            anchors,
            *(flatten(x) for x in predictions),
            gt_instances,
            images.image_sizes,
            is_initial,
        )
        mismatches = (targets.labels.numpy() != case[f"{phase}_labels"]).sum()
        deviations.record("labels", mismatches)
        deviations.add("targets", targets.boxes, case[f"{phase}_target_boxes"])
        deviations.add("targets", targets.alignment, case[f"{phase}_alignment"])
        deviations.add("loss_cls", losses["loss_cls"], case[f"{phase}_loss_cls"])
        deviations.add("loss_box", losses["loss_box_reg"], case[f"{phase}_loss_bbox"])

        sum(losses.values()).backward()
        for name, expected in zip(
            case[f"{phase}_grad_names"], case[f"{phase}_grad_norm"], strict=True
        ):
            deviations.add("grad", parameters[names[str(name)]].grad.norm(), expected)
        for feature, expected in zip(features, case[f"{phase}_grad_input_norm"], strict=True):
            deviations.add("grad", feature.grad.norm(), expected)
        deviations.add("grad", features[-1].grad, case[f"{phase}_grad_input_0"])

    with torch.no_grad():
        detections = model.forward_inference(images, features, model.head(features))
    for i, instances in enumerate(detections):
        expected = (case[f"det_{key}_{i}"] for key in ("boxes", "scores", "classes"))
        deviations.add_detections(instances, *expected)
    return deviations


def load_zoo_run(meta: dict) -> Run:
    configs = Path(__file__).resolve().parent.parent / "configs"
    config = CONFIGS.get(Path(meta["official_config"]).stem)
    if config is None:
        raise ValueError(f"no config for {meta['official_config']}")
    return load_run(str(configs / f"{config}.py"), ["train.device=cpu"])


def build_zoo_model(run: Run, meta: dict) -> TOOD:
    model = run.build_model().eval()
    load_weights(model, meta)
    return model


def model_inputs(meta: dict) -> list[dict]:
    image = reference_inputs.image(*meta["image_size"], meta["seed"])
    return [{"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}]


def check_model(case, meta: dict, optimize: bool = False) -> Deviations:
    deviations, inputs = Deviations(), model_inputs(meta)
    model = build_zoo_model(load_zoo_run(meta), meta)
    for name, module in (("num_parameters", model), ("num_head_parameters", model.head)):
        deviations.add("parameters", sum(x.numel() for x in module.parameters()), meta[name])
    if optimize:
        model = optimize_for_inference(model)
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(inputs).tensor)
        features = [features[name] for name in model.head_in_features]
        logits, boxes = model.head(features)
        (detections,) = model(inputs)
    check_maps(deviations, case, logits, boxes, model.head.anchor_generator.strides)
    for level, feature in enumerate(features):
        std, mean = torch.std_mean(feature, dim=(0, 2, 3))
        deviations.add("features", mean, case[f"feature_mean_{level}"])
        deviations.add("features", std, case[f"feature_std_{level}"])
    expected = (case[f"det_{key}"] for key in ("boxes", "scores", "classes"))
    deviations.add_detections(detections["instances"], *expected)
    return deviations


def check_exported(case, meta: dict, suffix: str) -> Deviations:
    from tood_d2.export.candidates import Candidates
    from tood_d2.export.exporting import read_metadata, write_exported
    from tood_d2.export.onnx_export import export_candidates

    deviations, run = Deviations(), load_zoo_run(meta)
    model, (sample,) = build_zoo_model(run, meta), model_inputs(meta)
    metadata = read_metadata(run, model, has_nms=False)
    with TemporaryDirectory() as folder:
        path = f"{folder}/model{suffix}"
        detector = write_exported(export_candidates(model), metadata, path)
    images = ImageList.from_tensors([sample["image"].float()], metadata.size_divisibility)
    outputs = detector.run(images.tensor, torch.tensor(images.image_sizes))
    found = Candidates(*(x[0] for x in outputs))
    kept, strides = found.scores > 0, model.head.anchor_generator.strides
    levels = [(torch.from_numpy(case[f"cls_score_{i}"]), i) for i in range(len(strides))]
    scores = flatten([x for x, _ in levels])[0]
    boxes = flatten([torch.from_numpy(case[f"bbox_{i}"]) * strides[i] for _, i in levels])[0]
    height, width = meta["image_size"]
    limits = torch.tensor([width, height, width, height])
    boxes = boxes.clamp(min=0).minimum(limits)
    places = found.locations[kept]
    deviations.add("scores", found.scores[kept], scores[places, found.classes[kept]])
    deviations.add("boxes", found.boxes[kept], boxes[places])
    (detections,) = detector([sample])
    expected = (case[f"det_{key}"] for key in ("boxes", "scores", "classes"))
    deviations.add_detections(detections["instances"], *expected)
    return deviations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder with head_*.npz and model_*.npz")
    parser.add_argument(
        "--optimize", action="store_true", help="models as optimize_for_inference makes them"
    )
    parser.add_argument(
        "--runtime", choices=RUNTIMES, help="export the models of model_*.npz, and run them by it"
    )
    args = parser.parse_args()
    folder = Path(args.folder)
    patterns = ("model_*.npz",) if args.runtime else ("head_*.npz", "model_*.npz")
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if not paths:
        print(f"{folder}: no head_*.npz or model_*.npz", file=sys.stderr)
        return 2
    failures = 0
    for path in paths:
        is_head = path.name.startswith("head_")
        tolerances = HEAD_TOLERANCES if is_head else MODEL_TOLERANCES
        if args.runtime:
            tolerances = {x: tolerances[x] for x in ("scores", "boxes", "detections")}
        try:
            with np.load(path) as case:
                meta = json.loads(str(case["meta"]))
                if args.runtime:
                    deviations = check_exported(case, meta, RUNTIMES[args.runtime])
                elif is_head:
                    deviations = check_head(case, meta)
                else:
                    deviations = check_model(case, meta, args.optimize)
        except Exception as error:  # whatever keeps a case from running is its result
            print(f"{path.name:32} FAIL  cannot be run: {type(error).__name__}: {error}")
            failures += 1
            continue
        exceeded = [name for name, tol in tolerances.items() if not deviations[name] <= tol]
        failures += bool(exceeded)
        verdict = f"FAIL ({', '.join(exceeded)})" if exceeded else "ok  "
        figures = "  ".join(f"{name} {deviations[name]:.1e}" for name in tolerances)
        print(f"{path.name:32} {verdict}  {figures}", flush=True)
    print(f"{len(paths) - failures} of {len(paths)} cases agree")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
