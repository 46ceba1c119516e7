"""Data sets in YOLO's form, as of Ultralytics, of Darknet, or in one folder."""

from collections import Counter
from pathlib import Path

from .labelled_images import Conversion, LabelledImage, read_images, read_size, to_coco
from .remarks import Remarks
from .yolo_labels import LabelFolders, LabelReader
from .yolo_sets import YoloSet, find_yolo_set, is_class_file


def convert_yolo(source: str | Path, drop_scores: bool = False) -> Conversion:
    """Converts what a ``data.yaml`` or ``obj.data`` describes, or a folder with ``classes.txt``.

    In the files, ``train``, ``val`` and ``test`` are folders of images, lists of folders, or text
    files that list images. Without its folders ``val`` or ``test`` is left out, with a warning. In
    a folder without such a file, folders such as ``train`` and ``valid`` are splits, or all images
    are the split "all".

    The labels of ``.../images/a.jpg`` are in ``.../labels/a.txt`` or beside the image, a line for
    each object: its class, and its box (centre x, centre y, width, height) or the corners of a
    polygon, whose bounding box is taken, relative to the image's size. Keypoints after the box are
    left out if data.yaml has ``kpt_shape``. An image without labels has no objects. Category ids
    are the classes' numbers + 1. What is left out is logged.

    Args:
        source: the file, or a folder with it.
        drop_scores: whether labels may end with a score, which is left out.

    Raises:
        FileNotFoundError: if the file, a folder or an image is missing.
        ValueError: if there is no image or no box, or a file is malformed.
    """
    source, remarks = Path(source), Remarks()
    yolo_set = find_yolo_set(source, remarks)
    folders = LabelFolders()
    labels = _find_labels(yolo_set, folders, source, remarks)
    reader = LabelReader(yolo_set.class_names, yolo_set.num_keypoint_numbers, drop_scores)

    def read(path: Path) -> LabelledImage:
        size = read_size(path)
        objects = reader.read(labels[path], size) if labels[path] else []
        return LabelledImage(path, size, objects)

    images = read_images(yolo_set.splits, read, remarks)
    if reader.num_boxes:
        remarks.add("polygons among boxes, whose bounding boxes are taken", *reader.polygons)
    remarks.log()
    files = sorted(filter(None, labels.values()))
    looked_for = f"lines in {len(files)} label files of {source}, such as {files[0]}"
    return to_coco(yolo_set.splits, images, looked_for, yolo_set.class_names)


def _find_labels(
    yolo_set: YoloSet, folders: LabelFolders, source: Path, remarks: Remarks
) -> dict[Path, Path | None]:
    """The label file of each image, if it has one."""
    paths = dict.fromkeys(path for images in yolo_set.splits.values() for path in images)
    labels = {path: folders.find(path) for path in paths}
    if not any(labels.values()):
        places = ", ".join(map(str, folders.folders()))
        raise ValueError(f"{source}: {len(paths)} images have no label file, looked in {places}")
    unlabelled = [path for path in paths if labels[path] is None]
    remarks.add("images without label file, taken for images without objects", *unlabelled)
    uses = Counter(labels.values())
    shared = [path for path in paths if labels[path] and uses[labels[path]] > 1]
    remarks.add("images that share their label file with another image", *shared)
    known = {path.resolve() for path in (*yolo_set.lists, *filter(None, labels.values()))}
    texts = [path for path in folders.files() if not is_class_file(path)]
    unused = [path for path in texts if path.resolve() not in known]
    remarks.add("text files that belong to no image of a split, left out", *unused)
    others = [path for path in yolo_set.other_images if folders.find(path)]
    remarks.add("labelled images in no split, left out", *others)
    return labels
