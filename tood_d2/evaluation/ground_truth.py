"""Ground truth as pycocotools wants it, whatever the file holds."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO

from ..data.coco.annotation_arrays import find_rows
from ..data.coco.dataset import CocoDataset


class GroundTruth(COCO):
    """A data set with numbers above 0 for all ids, as pycocotools goes wrong with others.

    Image and category ids are positions in the data set, from 1.
    """

    def __init__(self, dataset: CocoDataset):
        """Without annotations, the content has no list of them."""
        super().__init__()
        self._ids = {"image_id": dataset.image_ids, "category_id": dataset.category_ids}
        self.dataset = {
            "images": [image | {"id": i} for i, image in enumerate(dataset.image_items(), 1)],
            "categories": [{"id": i, "name": x} for i, x in enumerate(dataset.class_names, 1)],
        }
        if dataset.is_annotated:
            self.dataset["annotations"] = _annotations(dataset)
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()

    def positions(self, ids: list, field: str) -> list[int]:
        """What ids of the file are called here; 0 for an unknown one.

        Args:
            ids: values of a field.
            field: "image_id" or "category_id".
        """
        return (find_rows(ids, self._ids[field]) + 1).tolist()

    def loadRes(self, results: list[dict]) -> COCO:
        """Loads results with the ids of the file; see ``COCO.loadRes``."""
        columns = (self.positions([x[field] for x in results], field) for field in self._ids)
        changes = (dict(zip(self._ids, ids, strict=True)) for ids in zip(*columns, strict=True))
        return super().loadRes([x | change for x, change in zip(results, changes, strict=True)])


def _annotations(dataset: CocoDataset) -> list[dict]:
    """The area is that of the box where the file has none that is possible."""
    arrays = dataset.arrays
    with np.errstate(over="ignore"):
        areas = np.where(np.isnan(arrays.areas), arrays.boxes[:, 2:].prod(axis=1), arrays.areas)
    columns = (arrays.image_rows + 1, arrays.category_rows + 1, arrays.boxes, areas)
    return [
        {
            "id": i,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": box,
            "area": area,
            "iscrowd": crowd,
        }
        for i, (image_id, category_id, box, area, crowd) in enumerate(
            zip(*(x.tolist() for x in (*columns, arrays.crowd_flags)), strict=True), start=1
        )
    ]
