"""Images with their annotations and detections in FiftyOne."""

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..cli.requirements import check_fiftyone, check_parquet
from ..data.coco.image_files import find_image_files
from ..data.coco.reading import check_image_headers, read_coco, read_sound_coco

if TYPE_CHECKING:
    import fiftyone as fo

GROUND_TRUTH, PREDICTIONS = "ground_truth", "predictions"

logger = logging.getLogger(__name__)


def build_dataset(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    predictions: str | os.PathLike | None = None,
    name: str | None = None,
    score_thresh: float = 0.0,
) -> "fo.Dataset":
    """Makes a data set of FiftyOne, which it forgets at its end unless it is made persistent.

    Args:
        annotations: COCO JSON.
        images: folder of its images.
        predictions: what an evaluation leaves as ``inference/coco_instances_results.json``, or
            what ``tools/predict.py`` writes: a folder or URL, or the file of ``--coco``.
        name: of the data set, in place of one that has it; by default one that says the time.
        score_thresh: least score of a detection. Most have a low one, and FiftyOne takes its time
            for each.

    Returns:
        A sample for each image, with "image_id" (as text), "file_name", "ground_truth" and, if
        they are given, "predictions". Where there are both, FiftyOne has matched them at an IoU of
        0.5: each says in "eval" whether it is a "tp", "fp" or "fn".

    Raises:
        MissingRequirement: if FiftyOne is not installed.
        FileNotFoundError, ValueError: name a file that is missing or wrong; also if no detection
            is in one of the images.
    """
    check_fiftyone()
    import fiftyone as fo
    import fiftyone.utils.coco as fouc

    content = read_sound_coco(annotations)
    items = content["images"]
    check_image_headers(items, str(annotations), os.fspath(images), damaged_ok=True)
    labels = {GROUND_TRUTH: content["annotations"]}
    if predictions is not None:
        found = _read_predictions(str(predictions), content)
        labels[PREDICTIONS] = [x for x in found if x["score"] >= score_thresh]

    dataset = fo.Dataset(name, overwrite=True)
    dataset.default_classes = [x["name"] for x in content["categories"]]
    paths = find_image_files([x["file_name"] for x in items], images)
    dataset.add_samples(
        fo.Sample(
            os.path.abspath(path),
            image_id=str(x["id"]),
            file_name=x["file_name"],
            metadata=fo.ImageMetadata(width=x["width"], height=x["height"]),
            **{field: fo.Detections() for field in labels},
        )
        for path, x in zip(paths, items, strict=True)
    )
    for field, found in labels.items():
        if found:
            fouc.add_coco_labels(
                dataset,
                field,
                [x | {"image_id": str(x["image_id"])} for x in found],
                content["categories"],
                coco_id_field="image_id",
                extra_attrs=False,
            )
    if predictions is not None and content["annotations"]:
        dataset.evaluate_detections(PREDICTIONS, GROUND_TRUTH, eval_key="eval")
    return dataset


def _read_predictions(path: str, content: dict) -> Iterator[dict]:
    """Detections in the images of COCO content, in COCO's form.

    An image is known by its name, if its detections tell it, or by its id.
    """
    results = read_coco(path) if path.endswith(".json") else [*_read_folder(path)]
    if not isinstance(results, list):
        raise ValueError(f"{path}: should be a list of detections, as an evaluation writes it")
    ids = {x["file_name"]: x["id"] for x in content["images"]}
    known, categories = {*ids.values()}, {x["id"] for x in content["categories"]}
    num_other = 0
    for x in results:
        image_id = ids.get(x.get("file_name"), x["image_id"])
        if x["category_id"] not in categories:
            raise ValueError(f"{path}: no class of the data has the id {x['category_id']}")
        if image_id in known:
            yield x | {"image_id": image_id}
        else:
            num_other += 1
    if num_other and num_other == len(results):
        raise ValueError(f"{path}: its detections are in other images than those of the data")
    if num_other:
        logger.warning(f"{path}: {num_other} detections are in images that are not shown")


def _read_folder(path: str) -> Iterator[dict]:
    check_parquet()
    from ..batch_prediction.job import ResultFolder

    for row in ResultFolder(path).rows():
        found = (row["boxes"], row["scores"], row["category_ids"])
        for (x0, y0, x1, y1), score, category_id in zip(*(x or () for x in found), strict=True):
            yield {
                "image_id": row["image_id"],
                "file_name": row["file_name"],
                "category_id": category_id,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": score,
            }
