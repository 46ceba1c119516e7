"""A data set in COCO's form, in little memory."""

import functools
import os
from operator import itemgetter
from typing import NamedTuple

from detectron2.structures import BoxMode

from .annotation_arrays import AnnotationArrays, annotation_arrays
from .reading import read_sound_coco


class CocoDataset(NamedTuple):
    """What training and evaluation use of a JSON file.

    Images and categories are in ascending order of their ids, annotations in that of the file.
    """

    image_ids: list
    file_names: list[str]  # as in the file
    category_ids: list
    class_names: list[str]
    arrays: AnnotationArrays
    is_annotated: bool  # whether the file has annotations, as that of COCO's test-dev has not

    def image_items(self) -> list[dict]:
        """The list of images as it could stand in the file."""
        sizes = self.arrays.image_sizes.astype(int).tolist()
        columns = zip(self.image_ids, self.file_names, sizes, strict=True)
        return [{"id": i, "file_name": f, "width": w, "height": h} for i, f, (w, h) in columns]

    def dataset_dicts(self, image_files: list[str]) -> list[dict]:
        """Makes Detectron2's dataset dicts, as its ``load_coco_json`` does, of boxes alone.

        Args:
            image_files: path of each image.
        """
        arrays = self.arrays
        records = [
            {
                "file_name": path,
                "height": image["height"],
                "width": image["width"],
                "image_id": image["id"],
                "annotations": [],
            }
            for path, image in zip(image_files, self.image_items(), strict=True)
        ]
        columns = (arrays.image_rows, arrays.category_rows, arrays.crowd_flags, arrays.boxes)
        for row, label, crowd, box in zip(*(x.tolist() for x in columns), strict=True):
            annotation = {"iscrowd": crowd, "bbox": box, "category_id": label}
            records[row]["annotations"].append(annotation | {"bbox_mode": BoxMode.XYWH_ABS})
        return records


def load_coco(json_file: str | os.PathLike) -> CocoDataset:
    """Reads a JSON file that can be trained on or tested with.

    The last two files, as a rule of training and test data, are remembered until they change.

    Raises:
        FileNotFoundError, ValueError: see :func:`.read_sound_coco`.
    """
    path = os.path.abspath(json_file)
    status = os.stat(path) if os.path.isfile(path) else None
    return _load(path, status and (status.st_ino, status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=2)
def _load(path: str, version: tuple[int, ...] | None) -> CocoDataset:
    content = read_sound_coco(path)
    images = sorted(content["images"], key=itemgetter("id"))
    categories = sorted(content["categories"], key=itemgetter("id"))
    items = content | {"images": images, "categories": categories}
    return CocoDataset(
        image_ids=[x["id"] for x in images],
        file_names=[x["file_name"] for x in images],
        category_ids=[x["id"] for x in categories],
        class_names=[x["name"] for x in categories],
        arrays=annotation_arrays(items),
        is_annotated=content.get("is_annotated", True) is not False,
    )
