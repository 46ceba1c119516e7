"""Detections as Label Studio's RectangleLabels, without Label Studio."""

import functools
import logging
import uuid
from collections.abc import Mapping, Sequence

from detectron2.structures import Instances

logger = logging.getLogger(__name__)


@functools.lru_cache  # so that what is left out is said once
def match_labels(
    class_names: tuple[str, ...], labels: tuple[tuple[str, tuple[str, ...]], ...]
) -> Mapping[int, str]:
    """Which label of a project each class of a model stands for.

    A label stands for the classes in its attribute ``predicted_values``, or if it has none, for the
    class of its own name. Where no label has exactly a class's name, letter case may differ.

    Args:
        class_names: of the model.
        labels: each label and its ``predicted_values``.

    Returns:
        Labels by the numbers of the classes. Classes without one are left out, which is logged.

    Raises:
        ValueError: if no class has a label.
    """
    by_name = {name: label for label, names in labels for name in names or (label,)}
    by_folded = {name.casefold(): label for name, label in reversed(by_name.items())}
    matches, others = {}, []
    for number, name in enumerate(class_names):
        label = by_name.get(name) or by_folded.get(name.casefold())
        if label is None:
            others.append(name)
        else:
            matches[number] = label
    names, known = ", ".join(class_names), ", ".join(label for label, _ in labels)
    if not matches:
        raise ValueError(
            f"the model detects {names}, but the labels of the project are {known}: none in "
            "common. Give a label the name of a class, or name classes in its predicted_values"
        )
    if others:
        logger.warning(f"the project has no label for {', '.join(others)}: left out")
    return matches


def rectangle_results(
    instances: Instances, labels: Mapping[int, str], from_name: str, to_name: str
) -> list[dict]:
    """The results of a prediction, in their form in Label Studio: boxes in percent of the image.

    Args:
        instances: detections in an image of which ``image_size`` tells height and width.
        labels: of :func:`match_labels`. Detections of other classes are left out.
        from_name: name of the tag RectangleLabels.
        to_name: name of the tag Image.
    """
    height, width = instances.image_size
    boxes = instances.pred_boxes.tensor.tolist()
    scores, numbers = instances.scores.tolist(), instances.pred_classes.tolist()
    results = []
    for (x1, y1, x2, y2), score, number in zip(boxes, scores, numbers, strict=True):
        if number not in labels:
            continue
        value = {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
            "rectanglelabels": [labels[number]],
        }
        result = {"id": uuid.uuid4().hex[:10], "type": "rectanglelabels", "value": value}
        result |= {"from_name": from_name, "to_name": to_name, "score": score}
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        results.append(result | size)
    return results


def mean_score(results: Sequence[dict]) -> float:
    """The score of a prediction, by which Label Studio sorts tasks; 0 without results."""
    return sum(x["score"] for x in results) / max(len(results), 1)
