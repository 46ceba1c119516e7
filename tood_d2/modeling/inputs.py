"""What a model is given: images and ground truth from a mapper, which may be anybody's."""

from collections.abc import Sequence

from torch import Tensor

from detectron2.modeling import Backbone
from detectron2.structures import Boxes, Instances, RotatedBoxes

# Of a side of a box, in pixels: areas stay finite in float32.
MAX_COORDINATE = 1e9


def check_stem(backbone: Backbone, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
    """Raises a ValueError if the numbers of channels do not fit each other.

    Args:
        backbone: looked into if it, or that below an FPN, has ``in_channels`` or a stem that has.
        pixel_mean, pixel_std: one for each channel.
    """
    keys = "model.pixel_mean and model.pixel_std or MODEL.PIXEL_MEAN and MODEL.PIXEL_STD (YAML)"
    numbers = len(pixel_mean), len(pixel_std)
    if numbers[0] != numbers[1]:
        raise ValueError(f"{keys} should have as many values, not {numbers[0]} and {numbers[1]}")
    bottom_up = getattr(backbone, "bottom_up", backbone)
    stem = bottom_up if hasattr(bottom_up, "in_channels") else getattr(bottom_up, "stem", None)
    channels = getattr(stem, "in_channels", numbers[0])
    if channels != numbers[0]:
        raise ValueError(
            f"{keys} have {numbers[0]} values, but the backbone takes {channels} channels: set "
            "model.backbone.bottom_up.in_channels as well"
        )


def check_levels(backbone: Backbone, names: Sequence[str], strides: Sequence[int]) -> None:
    """Raises a ValueError if the head's levels are not those of its anchors.

    Args:
        backbone: with the features.
        names: of the features that the head takes.
        strides: of the anchors of each level.
    """
    keys = "model.head_in_features or MODEL.TOOD.IN_FEATURES (YAML)"
    shapes = backbone.output_shape()
    if unknown := [name for name in names if name not in shapes]:
        raise ValueError(
            f"{keys} has {', '.join(unknown)}, but the backbone has {', '.join(shapes)}: set "
            "out_features of the backbone or num_top_levels of build_fpn as well"
        )
    own = [shapes[name].stride for name in names]
    if own != list(strides):
        raise ValueError(
            f"{keys} is {', '.join(names)} of the strides {own}, but the anchors' are "
            f"{list(strides)}: set model.head.anchor_generator.strides and .sizes to fit"
        )


def check_channels(batched_inputs: list[dict], num_channels: int) -> None:
    """Raises a ValueError that names the first image with another number of channels.

    Args:
        batched_inputs: N dicts with "image", (C, H, W).
        num_channels: of the model.
    """
    for sample in batched_inputs:
        shape = tuple(sample["image"].shape)
        if len(shape) != 3 or shape[0] != num_channels:
            raise ValueError(
                f"{_name(sample)} comes in the shape {shape}, but the model takes (channels, "
                f"height, width) with {num_channels} channels: image_format of the mapper or "
                "INPUT.FORMAT (YAML) should fit model.pixel_mean or MODEL.PIXEL_MEAN (YAML)"
            )


def ground_truth(batched_inputs: list[dict], num_classes: int) -> list[Instances]:
    """The objects of each image, without any fields that the model does not use.

    Args:
        batched_inputs: N dicts with "instances".
        num_classes: K.

    Returns:
        N instances with ``gt_boxes`` and ``gt_classes``, (M,) int64.

    Raises:
        ValueError: with the image, if there are none, or if boxes or classes are not as they
            should be.
    """
    return [_objects(sample, num_classes) for sample in batched_inputs]


def _objects(sample: dict, num_classes: int) -> Instances:
    instances = sample.get("instances", Instances((0, 0)))
    if not (instances.has("gt_boxes") and instances.has("gt_classes")):
        raise ValueError(
            f"{_name(sample)} comes without gt_boxes and gt_classes: a mapper for training gives "
            "them (is_train=True)"
        )
    boxes, classes = instances.gt_boxes, instances.gt_classes
    if isinstance(boxes, RotatedBoxes):
        raise ValueError(f"{_name(sample)}: rotated boxes are not supported")
    if not isinstance(boxes, Boxes):
        raise ValueError(f"{_name(sample)}: gt_boxes should be Boxes, not {type(boxes).__name__}")
    if wrong := _outside(boxes.tensor, -MAX_COORDINATE, MAX_COORDINATE):
        raise ValueError(f"{_name(sample)}: gt_boxes has the coordinate {wrong[0]:g}")
    if wrong := _outside(classes, 0, num_classes - 1):
        raise ValueError(
            f"{_name(sample)} has an object with the label {wrong[0]}, but the model's "
            f"{num_classes} classes are 0 to {num_classes - 1}: set model.num_classes or "
            "MODEL.TOOD.NUM_CLASSES (YAML) to the data's"
        )
    return Instances(instances.image_size, gt_boxes=boxes, gt_classes=classes.long())


def _outside(values: Tensor, least: float, most: float) -> list:
    """The values out of a range, NaN among them."""
    return values[~((values >= least) & (values <= most))].tolist()


def _name(sample: dict) -> str:
    return str(sample.get("file_name") or f"image {sample.get('image_id', 'without a name')}")
