"""Results of batch prediction in other forms: COCO's, and in the place of a model."""

import json
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
        with "instances". It raises a ValueError for images without results.
    """
    rows: dict[int | str, dict] = {}
    for row in folder.rows():
        if row["image_id"] is not None:
            rows[row["image_id"]] = row
        else:
            rows[PurePosixPath(row["file_name"]).name] = row

    def find(sample: dict) -> dict:
        name = PurePosixPath(sample["file_name"]).name
        row = rows.get(sample["image_id"]) or rows.get(name)
        if row is None:
            raise ValueError(f"{folder.folder}: no results for {sample['file_name']}")
        found = instances_of(row, category_ids)
        return {"instances": detector_postprocess(found, sample["height"], sample["width"])}

    return lambda batched_inputs: [*map(find, batched_inputs)]
