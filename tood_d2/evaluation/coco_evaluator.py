"""COCO's results and AP, with pictures: precision-recall curves and a confusion matrix.

D detections and M ground-truth objects of an image, K classes, R recalls.
"""

import contextlib
import io
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterable
from unittest import mock

import numpy as np
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detectron2.evaluation import COCOEvaluator, coco_evaluation
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from ..data.coco.dataset import load_coco
from .ground_truth import GroundTruth

logger = logging.getLogger(__name__)

IOU_THRESH = 0.5
COCO_MAX_DETS = 100
NO_OBJECT = -1


class IllustratedCOCOEvaluator(COCOEvaluator):
    """Detectron2's evaluator, which also writes ``pr_curves.png`` and ``confusion_matrix.png``.

    The pictures are of boxes and go into ``output_dir``. Each evaluation replaces those of the
    one before. Whatever goes wrong with them is logged as a warning and leaves the results alone.
    """

    def __init__(
        self,
        *args,
        score_thresh: float = 0.3,
        distributed: bool = True,
        **kwargs,
    ):
        """Takes the arguments of ``COCOEvaluator``.

        Ground truth is read by :func:`.load_coco`. That of a data set without a file is written
        anew, not taken from an earlier run.

        Args:
            score_thresh: the confusion matrix counts detections with at least this score. The
                curves and AP count all.
            distributed: whether the main process evaluates the results of all.

        Raises:
            FileNotFoundError, ValueError: see :func:`.load_coco`.
        """

        def ground_truth(json_file: str) -> COCO:
            is_needed = comm.is_main_process() or not distributed
            return GroundTruth(load_coco(json_file)) if is_needed else COCO()

        kwargs = {"allow_cached_coco": False, "distributed": distributed} | kwargs
        with mock.patch.object(coco_evaluation, "COCO", ground_truth):
            super().__init__(*args, **kwargs)
        self._score_thresh = score_thresh

    def look_at(self, max_dets_per_image: int) -> None:
        """Lets a model's limit of detections count, beside that of COCO.

        AP stays that of the 100 best detections of an image. With a higher limit there is another
        one of all detections, named as "AP@300".
        """
        if max_dets_per_image > COCO_MAX_DETS:
            self._max_dets_per_image = [1, 10, COCO_MAX_DETS, max_dets_per_image]

    def _eval_predictions(self, predictions, img_ids=None):
        if not self._do_evaluation:
            logger.warning(f"{self._metadata.json_file} has no annotations: results but no AP")
        elif img_ids is not None:
            img_ids = self._coco_api.positions(img_ids, "image_id")
        # What pycocotools prints is for log.txt, as Detectron2 logs tables of the results.
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            super()._eval_predictions(predictions, img_ids)
        logger.info(f"pycocotools:\n{printed.getvalue()}", extra={"file_only": True})

    def _derive_coco_results(self, coco_eval: COCOeval | None, iou_type: str, class_names=None):
        limits = self._max_dets_per_image
        if coco_eval is not None:
            precision = coco_eval.eval["precision"]
            coco_eval.eval["precision"] = precision[..., :3]
        results = super()._derive_coco_results(coco_eval, iou_type, class_names)
        if coco_eval is not None and len(limits) > 3:
            values = precision[:, :, :, 0, -1]
            values = values[values > -1]
            results[f"AP@{limits[-1]}"] = 100 * float(values.mean()) if values.size else math.nan
            logger.info(f"AP of up to {limits[-1]} detections: {results[f'AP@{limits[-1]}']:.3f}")
        if iou_type == "bbox" and self._output_dir and comm.is_main_process():
            for name, draw in (
                ("pr_curves.png", self._draw_pr_curves),
                ("confusion_matrix.png", self._draw_confusion_matrix),
            ):
                try:
                    figure = draw(coco_eval)
                    with PathManager.open(os.path.join(self._output_dir, name), "wb") as file:
                        figure.savefig(file, format="png")
                except Exception as error:
                    logger.warning(f"No picture of the evaluation: {type(error).__name__}: {error}")
        return results

    def _draw_pr_curves(self, coco_eval: COCOeval | None):
        # Here, as drawing imports matplotlib.
        from .figures import draw_pr_curves

        class_names = _class_names(self._coco_api)
        if coco_eval is None:
            return draw_pr_curves(np.zeros(0), {0.5: np.zeros((0, len(class_names)))}, class_names)
        # COCO's number of detections per image, objects of all sizes.
        precision = coco_eval.eval["precision"][:, :, :, 0, -1]
        iou_threshs = coco_eval.params.iouThrs
        precisions = {t: precision[np.abs(iou_threshs - t).argmin()] for t in (0.5, 0.75)}
        return draw_pr_curves(coco_eval.params.recThrs, precisions, class_names)

    def _draw_confusion_matrix(self, coco_eval: COCOeval | None):
        from .figures import draw_confusion_matrix

        if coco_eval is None:
            detections, img_ids = [], self._coco_api.getImgIds()
        else:
            detections = coco_eval.cocoDt.dataset["annotations"]
            img_ids = coco_eval.params.imgIds
        matrix = confusion_matrix(self._coco_api, detections, img_ids, self._score_thresh)
        title = f"Detections with a score of at least {self._score_thresh:g}, IoU {IOU_THRESH:g}"
        return draw_confusion_matrix(matrix, _class_names(self._coco_api), title)


def image_id_of(file_name: str) -> int | str:
    """The id of an image: its name without the extension, a number if that has digits only."""
    stem = os.path.splitext(file_name)[0]
    return int(stem) if stem.isascii() and stem.isdigit() else stem


def coco_results(
    instances: Instances,
    file_name: str,
    class_names: list[str],
    category_ids: list[int],
    image_id: int | str | None = None,
) -> list[dict]:
    """The detections of an image in the form that COCO's evaluation reads, with names.

    Args:
        instances: on the CPU, with ``pred_boxes``, ``scores`` and ``pred_classes``.
        file_name: of the image.
        class_names, category_ids: of the classes.
        image_id: by default that of :func:`image_id_of`.

    Returns:
        For each detection "image_id", "file_name", "category_id", "category_name", "bbox" (XYWH in
        pixels of the image) and "score".
    """
    image_id = image_id_of(file_name) if image_id is None else image_id
    results = coco_evaluation.instances_to_coco_json(instances, image_id)
    for x in results:
        cls = x["category_id"]
        x |= {"category_id": category_ids[cls], "category_name": class_names[cls]}
        x["file_name"] = file_name
    return results


def _class_names(coco_gt: COCO) -> list[str]:
    """Names of the K classes in the order of ``COCOeval``, that of their ids."""
    return [x["name"] for x in coco_gt.loadCats(sorted(coco_gt.getCatIds()))]


def confusion_matrix(
    coco_gt: COCO, detections: Iterable[dict], img_ids: Iterable[int], score_thresh: float
) -> np.ndarray:
    """Counts which classes are taken for which.

    With :func:`match_detections`, the diagonal has COCO's true positives at an IoU of 0.5, and
    the rest of a column its false positives of the class: objects of other classes, background.
    COCO's limits on the number of detections in an image are not applied.

    Args:
        coco_gt: the ground truth.
        detections: in COCO's form, with ``image_id``, ``category_id``, ``bbox`` and ``score``.
        img_ids: the images that count.
        score_thresh: detections with a lower score do not count.

    Returns:
        (K + 1, K + 1) int64. Rows are the true classes by their ids and, last, background;
        columns the predicted ones and, last, objects without a detection.
    """
    classes = {id_: i for i, id_ in enumerate(sorted(coco_gt.getCatIds()))}
    background = len(classes)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    detections_of = defaultdict(list)
    for x in detections:
        if x["score"] >= score_thresh:
            detections_of[x["image_id"]].append(x)
    for img_id in img_ids:
        found = sorted(detections_of.get(img_id, []), key=lambda x: x["score"], reverse=True)
        objects = coco_gt.imgToAnns.get(img_id, [])
        pred_classes = np.array([classes[x["category_id"]] for x in found], dtype=np.int64)
        gt_classes = np.array([classes[x["category_id"]] for x in objects], dtype=np.int64)
        pred_boxes, gt_boxes = ([x["bbox"] for x in part] for part in (found, objects))
        is_crowd = np.array([x.get("iscrowd", 0) for x in objects], dtype=bool)
        ious = mask_util.iou(pred_boxes, gt_boxes, is_crowd.astype(np.uint8))
        ious = np.reshape(ious, (len(found), len(objects)))  # without any, it is a list
        matches = match_detections(ious, pred_classes[:, None] == gt_classes, is_crowd)

        # ``NO_OBJECT`` takes what is appended.
        matched_classes = np.append(gt_classes, background)[matches]
        counts = ~np.append(is_crowd, False)[matches]
        np.add.at(matrix, (matched_classes[counts], pred_classes[counts]), 1)
        is_missed = ~is_crowd
        is_missed[matches[matches != NO_OBJECT]] = False
        np.add.at(matrix, (gt_classes[is_missed], background), 1)
    return matrix


def match_detections(ious: np.ndarray, same_class: np.ndarray, is_crowd: np.ndarray) -> np.ndarray:
    """Finds the object of each detection in an image.

    Matches the class first, as COCO does: in falling order of scores, a detection takes the free
    object of its class that it overlaps most, or else a crowd of its class, which stays free.
    What is left then takes free objects of other classes in the same way.

    Args:
        ious: (D, M), rows by falling score. Less than ``IOU_THRESH`` is no match.
        same_class: (D, M) bool, whether classes agree.
        is_crowd: (M,) bool.

    Returns:
        (D,) int64, indices of the objects, ``NO_OBJECT`` where there is none.
    """
    matches = np.full(len(ious), NO_OBJECT)
    ious = np.where(ious >= IOU_THRESH, ious, 0)
    for allowed in (same_class & ~is_crowd, same_class & is_crowd, ~same_class & ~is_crowd):
        for i in (matches == NO_OBJECT).nonzero()[0]:
            candidates = ious[i] * allowed[i]
            if candidates.any():
                matches[i] = best = candidates.argmax()
                if not is_crowd[best]:
                    ious[:, best] = 0
    return matches
