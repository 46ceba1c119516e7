"""Annotations that the detections of a trained model contradict.

D detections and M annotations of an image. Boxes are XYWH in pixels of the image.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from pycocotools import mask as mask_util

from ..data.coco.annotation_arrays import annotation_arrays
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
    annotation_id: int | str | None  # also None for an annotation without an id
    category: str | None  # None for an overlooked object, as the next one
    bbox: list[float] | None
    pred_category: str
    pred_bbox: list[float]
    pred_score: float


class _Annotation(NamedTuple):
    id: int | str | None
    category: str
    bbox: list[float]
    is_crowd: bool


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

    An annotation or detection is listed once, an annotation under the kind with the higher score.
    Scores under MIN_SCORE are left out. Crowds are not suspected.

    Args:
        content: sound, see :func:`.read_sound_coco`.
        detections: of each image of the content, in its order, with "category_name", "bbox" and
            "score", see :func:`.coco_results`. Those of low scores, from 0.05 on, are of use.
    """
    names = [x["name"] for x in content["categories"]]
    arrays = annotation_arrays(content)
    annotations = [[] for _ in content["images"]]
    columns = (arrays.image_rows, arrays.category_rows, arrays.boxes, arrays.is_crowd)
    columns = (x.tolist() for x in columns)
    for item, image, category, box, crowd in zip(content["annotations"], *columns, strict=True):
        annotations[image].append(_Annotation(item.get("id"), names[category], box, crowd))
    found = {kind: [] for kind in KINDS}
    for image, given, detected in zip(content["images"], annotations, detections, strict=True):
        detected = [x for x in detected if x["category_name"] in names]
        for suspect in _find_in_image(image, given, detected):
            found[suspect.kind].append(suspect)
    ranked = [sorted(x, key=lambda suspect: -suspect.score) for x in found.values()]
    return [x for turn in zip_longest(*ranked) for x in turn if x is not None]


def _find_in_image(
    image: dict, annotations: list[_Annotation], detections: list[dict]
) -> Iterator[Suspect]:
    if not detections:
        return
    detections = sorted(detections, key=lambda x: -x["score"])
    scores = np.array([x["score"] for x in detections])
    is_crowd = np.array([x.is_crowd for x in annotations], dtype=bool)
    pred_boxes, gt_boxes = [x["bbox"] for x in detections], [x.bbox for x in annotations]
    ious = mask_util.iou(pred_boxes, gt_boxes, is_crowd.astype(np.uint8))
    ious = np.reshape(ious, (len(detections), len(annotations)))  # without any, it is a list
    gt_categories = np.array([x.category for x in annotations], dtype=object)
    pred_categories = np.array([x["category_name"] for x in detections], dtype=object)
    same_class = pred_categories[:, None] == gt_categories
    matches = match_detections(ious, same_class, is_crowd)

    def suspect(kind: str, score: float, row: int, annotation: _Annotation | None) -> Suspect:
        given = annotation[:3] if annotation else (None, None, None)
        predicted = (detections[row][key] for key in ("category_name", "bbox", "score"))
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
        kind, score, row = "badly placed", of_place, best
        if of_class > of_place:
            kind, score, row = "wrong class", of_class, other.argmax()
        if score >= MIN_SCORE:
            explained[row] = True
            yield suspect(kind, score, row, annotations[i])
    objects = []
    for row in np.flatnonzero(~explained):
        overlaps = mask_util.iou(
            [pred_boxes[row]], [pred_boxes[x] for x in objects], [0] * len(objects)
        )
        score = scores[row] * (1 - ious[row].max(initial=0))
        if score >= MIN_SCORE and np.max(overlaps, initial=0) < IOU_THRESH:
            objects.append(row)
            yield suspect("overlooked", score, row, None)
