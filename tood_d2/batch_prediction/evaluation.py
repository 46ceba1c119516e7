"""Results of batch prediction in other forms: COCO's, and in the place of a model."""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath

from detectron2.modeling.postprocessing import detector_postprocess

from ..cli.outputs import whole_file
from ..evaluation import coco_results
from .detections import instances_of
from .job import ResultFolder


def write_coco_results(folder: ResultFolder, path: str) -> None:
    """Writes COCO's results of all images that could be read, see :func:`.coco_results`."""
    with whole_file(path) as scratch, open(scratch, "w") as file:
        file.write("[")
        separator = ""
        for row in folder.rows():
            if row["error"] is None:
                names = dict(zip(row["category_ids"], row["category_names"], strict=True))
                instances = instances_of(row, [*names])
                found = coco_results(
                    instances, row["file_name"], [*names.values()], [*names], row["image_id"]
                )
                for x in found:
                    file.write(separator + json.dumps(x))
                    separator = ",\n"
        file.write("]\n")


def stored_model(
    folder: ResultFolder, category_ids: list[int]
) -> Callable[[list[dict]], list[dict]]:
    """Detections of a folder in the place of a model in evaluation.

    Args:
        folder: with results for all images.
        category_ids: of the classes.

    Returns:
        A function of N dicts with "image_id", "file_name", "height" and "width" that gives N dicts
        with "instances". It raises a ValueError for images without results. Where ids are not
        known, an image has the results of the file whose path ends most like its own.
    """
    by_id, by_name = {}, defaultdict(list)
    for row in folder.rows():
        if row["image_id"] is not None:
            by_id[row["image_id"]] = row
        else:
            by_name[PurePosixPath(row["file_name"]).name].append(row)

    def find(sample: dict) -> dict:
        name = sample["file_name"]
        row = by_id.get(sample["image_id"])
        if row is None:
            row = _nearest(name, by_name[PurePosixPath(name).name])
        if row is None:
            raise ValueError(f"{folder.folder}: no results for {name}, or those of several files")
        found = instances_of(row, category_ids)
        return {"instances": detector_postprocess(found, sample["height"], sample["width"])}

    return lambda batched_inputs: [*map(find, batched_inputs)]


def _nearest(path: str, rows: list[dict]) -> dict | None:
    """The row whose path ends most like a path; None if there is none, or several."""
    parts = PurePosixPath(path).parts[::-1]
    commons = [os.path.commonprefix([parts, _parts(row)]) for row in rows]
    most = max(map(len, commons), default=0)
    nearest = [row for row, common in zip(rows, commons, strict=True) if len(common) == most]
    return nearest[0] if len(nearest) == 1 else None


def _parts(row: dict) -> tuple[str, ...]:
    return PurePosixPath(row["file_name"]).parts[::-1]
