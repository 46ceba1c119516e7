"""Annotations that the detections of a trained model contradict.

D detections and M annotations of an image. Boxes are XYWH in pixels of the image.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from pycocotools import mask as mask_util

from ..evaluation.coco_evaluator import IOU_THRESH, NO_OBJECT, match_detections

KINDS = ("overlooked", "badly placed", "wrong class")
MIN_IOU = 0.1  # of a detection with the annotation that it speaks about
MIN_SCORE = 0.1  # of a suspect


class Suspect(NamedTuple):
    """An annotation that may be wrong, or the detection of an object that may lack one."""

    kind: str  # one of KINDS
    score: float  # from 0 to 1, how much the model objects; for comparison within a kind
    file_name: str
    image_id: int | str
    annotation_id: int | str | None  # None for an overlooked object, as the next two
    category: str | None
    bbox: list[float] | None
    pred_category: str
    pred_bbox: list[float]
    pred_score: float


def find_suspects(content: dict, detections: Sequence[Sequence[dict]]) -> list[Suspect]:
    """Ranks what may be wrong in annotations, by kinds that take turns.

    How likely errors of different kinds are depends on the data. The kinds take turns, therefore,
    and each comes by falling score:

    - overlooked: a detection that matches no annotation, see :func:`.match_detections`. Its score
      is the detection's, times 1 - IoU with the annotation that it overlaps most.
    - badly placed: the best detection of the annotation's class that matches no other annotation
      has a low IoU with it. The score is the detection's, times 1 - IoU.
    - wrong class: a detection of another class fits better. The score is the difference between
      the best products of score and IoU, of other classes and of the annotation's.

    An annotation is listed once, under the kind with the higher score. Crowds are not suspected.

    Args:
        content: sound, see :func:`.read_sound_coco`.
        detections: of each image of the content, in its order, with "category_name", "bbox" and
            "score", see :func:`.coco_results`. Those of low scores, from 0.05 on, are of use.
    """
    names = {x["id"]: x["name"] for x in content["categories"]}
    annotations = defaultdict(list)
    for annotation in content["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    found = {kind: [] for kind in KINDS}
    for image, image_detections in zip(content["images"], detections, strict=True):
        for suspect in _find_in_image(image, annotations[image["id"]], image_detections, names):
            if suspect.score >= MIN_SCORE:
                found[suspect.kind].append(suspect)
    ranked = [sorted(x, key=lambda suspect: -suspect.score) for x in found.values()]
    return [x for turn in zip_longest(*ranked) for x in turn if x is not None]


def _find_in_image(
    image: dict, annotations: list[dict], detections: Sequence[dict], names: dict
) -> Iterator[Suspect]:
    known = {*names.values()}
    detections = [x for x in detections if x["category_name"] in known]
    detections.sort(key=lambda x: -x["score"])
    if not detections:
        return
    scores = np.array([x["score"] for x in detections])
    categories = np.array([names[x["category_id"]] for x in annotations], dtype=object)
    is_crowd = np.array([bool(x.get("iscrowd")) for x in annotations], dtype=bool)
    pred_boxes, gt_boxes = ([x["bbox"] for x in part] for part in (detections, annotations))
    ious = mask_util.iou(pred_boxes, gt_boxes, is_crowd.astype(np.uint8))
    ious = np.reshape(ious, (len(detections), len(annotations)))  # without any, it is a list
    pred_categories = np.array([x["category_name"] for x in detections], dtype=object)
    same_class = pred_categories[:, None] == categories
    matches = match_detections(ious, same_class, is_crowd)

    def suspect(kind: str, score: float, row: int, annotation: dict | None) -> Suspect:
        detection = detections[row]
        given = None, None, None
        if annotation is not None:
            box = [float(x) for x in annotation["bbox"]]
            given = annotation["id"], names[annotation["category_id"]], box
        predicted = detection["category_name"], detection["bbox"], detection["score"]
        return Suspect(kind, float(score), image["file_name"], image["id"], *given, *predicted)

    fit = scores[:, None] * np.where(ious >= MIN_IOU, ious, 0)  # (D, M)
    is_free = matches == NO_OBJECT
    explained = ~is_free
    for i in np.flatnonzero(~is_crowd):
        other = np.where(same_class[:, i], 0, fit[:, i])
        own = fit[:, i] - other
        of_class = other.max() - own.max()
        own = np.where(is_free | (matches == i), own, 0)
        best = own.argmax()
        of_place = scores[best] * (1 - ious[best, i]) if own[best] > 0 else 0
        if of_class > of_place:
            yield suspect("wrong class", of_class, other.argmax(), annotations[i])
        else:
            yield suspect("badly placed", of_place, best, annotations[i])
            explained[best] |= own[best] > 0
    objects = []
    for row in np.flatnonzero(~explained):
        overlaps = mask_util.iou(
            [pred_boxes[row]], [pred_boxes[x] for x in objects], [0] * len(objects)
        )
        if np.max(overlaps, initial=0) < IOU_THRESH:
            objects.append(row)
            yield suspect("overlooked", scores[row] * (1 - ious[row].max(initial=0)), row, None)
