"""Repairs data in COCO's form where it is clear what is meant, and drops what is of no use."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .annotation_arrays import read_number
from .checking import MAX_ID, Problem, check_annotations

_DROPPED = {
    *("missing-image", "unreadable-image"),
    *("bad-annotation", "unknown-image", "unknown-category"),
    *("bad-box", "empty-box", "outside-box", "duplicate-box"),
}
_LOST = _DROPPED - {"duplicate-box"}  # what is said twice is no loss
_NEW_IDS = {"duplicate-annotation-id", "evaluation-id"}


class TooMuchLost(ValueError):
    """Fixing would drop more of the data than allowed."""


def fix(
    content: dict, problems: Sequence[Problem], json_file: str, max_lost: float = 0.05
) -> tuple[dict, list[str]]:
    """Cleans data of the problems that can be solved without asking.

    Boxes are taken from polygons where they are missing, turned if the file has their image as it
    is before its EXIF data turn it, and clipped to their image. Boxes without an extent or out of
    sight are dropped, as are repeated ones, those of unknown images or categories, and images that
    are missing or unreadable. Images get the size and name that their file has. Annotations get
    ids, areas and ``iscrowd`` that every program can deal with.

    Args:
        content: of the file; not changed.
        problems: of :func:`.check_images`. Those that need no image are looked for here.
        json_file: its name.
        max_lost: share of the images, and of the annotations of the others, that may be dropped;
            one may be in any case.

    Returns:
        The content without these problems, and a line on each change.

    Raises:
        TooMuchLost: if more would be dropped.
    """
    fixer = _Fixer(content)
    fixer.solve(problems)
    # One change can make others necessary: boxes whose image is dropped, or smaller than said.
    while fixer.solve(check_annotations(fixer.content, json_file)):
        pass
    fixer.complete(json_file)
    fixer.check_losses(content, max_lost, json_file)
    return fixer.content, fixer.changes


class _Fixer:
    """Content as it is changed, and what was changed."""

    def __init__(self, content: dict):
        self.content = content
        self.changes: list[str] = []
        self.num_lost = {"images": 0, "annotations": 0}  # without those of lost images
        self.lost_image_ids: set = set()

    def solve(self, problems: Sequence[Problem]) -> bool:
        """Solves the problems that concern one item each; returns whether there was one."""
        lists = {key: list(self.content[key]) for key in ("images", "annotations")}
        ids = _ids(lists["annotations"])
        self.last_id = max((x for x in ids if type(x) is int and 0 < x < MAX_ID), default=0)
        num_changes, dropped = len(self.changes), {}
        # First what is dropped, which needs no other change.
        for problem in sorted(problems, key=lambda x: x.kind not in _DROPPED):
            if problem.item is None or problem.item in dropped:
                continue
            key, position = problem.item
            change = self._change(problem)
            if change:
                lists[key][position] = lists[key][position] | change
                text = "now " + ", ".join(f"{k} {v!r}" for k, v in change.items())
                self.changes.append(f"{problem.where}: {text}: {problem.message}")
            elif problem.kind in _DROPPED:
                dropped[problem.item] = problem
                self.changes.append(f"{problem.where}: dropped: {problem.message}")
        self._turn_boxes(lists["annotations"], [x for x in problems if x.kind == "exif-unturned"])
        for (key, position), problem in dropped.items():
            item = self.content[key][position]
            if key == "images":
                self.lost_image_ids.add(item["id"])
            is_unknown = problem.kind == "unknown-image"
            if not (is_unknown and item["image_id"] in self.lost_image_ids):
                self.num_lost[key] += problem.kind in _LOST
        for key, items in lists.items():
            lists[key] = [x for i, x in enumerate(items) if (key, i) not in dropped]
        self.content = self.content | lists
        return len(self.changes) > num_changes

    def _change(self, problem: Problem) -> dict | None:
        """The fields that solve a problem, None if there are none."""
        key, position = problem.item
        item = self.content[key][position]
        if problem.kind in _NEW_IDS:
            self.last_id += 1
            return {"id": self.last_id}
        if problem.kind == "bad-area":
            return {"area": _area(item)}
        if problem.kind == "bad-iscrowd":
            return {"iscrowd": int(type(item["iscrowd"]) in (int, float))}
        if problem.kind in ("bad-box", "empty-box"):
            return _box_of_polygons(item) or _positive_box(item)
        if problem.kind == "bad-annotation" and isinstance(item, dict) and _box(item) is None:
            return _box_of_polygons(item)
        return problem.change

    def _turn_boxes(self, annotations: list, problems: list[Problem]) -> None:
        """Turns the boxes of images with these, unless they are those of the turned views.

        The tool that wrote the file will have taken all of them alike: where a box reaches out of
        its image as it is stored, they are of the turned views.
        """
        boxes: list[tuple[Problem, int, list[float]]] = []
        for problem in problems:
            image_id = self.content["images"][problem.item[1]]["id"]
            rows = (i for i, x in enumerate(annotations) if _refers_to(x, image_id))
            boxes += [(problem, i, box) for i in rows if (box := _box(annotations[i]))]
        for problem, _, (x, y, width, height) in boxes:
            if x + width > problem.change["height"] + 1 or y + height > problem.change["width"] + 1:
                text = "boxes are of the turned views, as they reach out of the stored ones: kept"
                self.changes.append(f"{problem.where}: {text}")
                return
        for problem, i, box in boxes:
            size = problem.change["height"], problem.change["width"]  # before turning
            turned = turn_box(box, *size, problem.orientation)
            annotations[i] = annotations[i] | {"bbox": turned}
            name = f"annotation {annotations[i].get('id')!r}"
            self.changes.append(f"{problem.where}: box {box} of {name} is turned with it: {turned}")

    def complete(self, json_file: str) -> None:
        """Gives annotations the fields that other programs need."""
        annotations = []
        for annotation in self.content["annotations"]:
            missing = {"area": _area(annotation), "iscrowd": 0}
            change = {k: v for k, v in missing.items() if annotation.get(k) is None}
            annotations.append(annotation | change)
            if change:
                text = ", ".join(f"{k} {v!r}" for k, v in change.items())
                name = f"{json_file}: annotation {annotation.get('id')!r}"
                self.changes.append(f"{name}: now {text}: other programs need it")
        self.content = self.content | {"annotations": annotations}

    def check_losses(self, content: dict, max_lost: float, json_file: str) -> None:
        """Raises an error if too much of the content has been dropped."""
        lost = {key: number for key, number in self.num_lost.items() if number}
        if any(number > max(1, max_lost * len(content[key])) for key, number in lost.items()):
            text = " and ".join(f"{lost[x]} of {len(content[x])} {x}" for x in lost)
            reasons = [x for x in self.changes if ": dropped: " in x]
            raise TooMuchLost(
                f"{json_file}: fixing would drop {text}, more than {max_lost:.0%}, such as "
                f"{reasons[0].replace(': dropped:', ':').removeprefix(f'{json_file}: ')}. Mend the "
                "cause, or allow it by --max-lost"
            )


def _ids(items: Iterable) -> Iterable:
    return (x.get("id") for x in items if isinstance(x, dict))


def _refers_to(annotation: object, image_id: object) -> bool:
    return isinstance(annotation, dict) and annotation.get("image_id") in (image_id, str(image_id))


def _box(annotation: dict) -> list[float] | None:
    """Its box as numbers, None if they are not four finite ones."""
    value = annotation.get("bbox")
    numbers = [read_number(x) for x in value] if isinstance(value, list) else []
    return numbers if len(numbers) == 4 and all(map(math.isfinite, numbers)) else None


def _area(annotation: dict) -> float:
    _, _, width, height = _box(annotation)
    return width * height


def _box_of_polygons(annotation: object) -> dict | None:
    """The box of the polygons of an annotation, None without an extent."""
    polygons = annotation.get("segmentation") if isinstance(annotation, dict) else None
    if not isinstance(polygons, list):
        return None
    if polygons and not any(isinstance(x, list) for x in polygons):
        polygons = [polygons]
    polygons = [x[: len(x) // 2 * 2] for x in polygons if isinstance(x, list)]  # whole points
    points = np.array([read_number(x) for polygon in polygons for x in polygon]).reshape(-1, 2)
    if not len(points) or not np.isfinite(points).all() or not (np.ptp(points, axis=0) > 0).all():
        return None
    return {"bbox": [*points.min(axis=0).tolist(), *np.ptp(points, axis=0).tolist()]}


def _positive_box(annotation: object) -> dict | None:
    """The same box from its other corner, if a side is negative and none is 0."""
    box = _box(annotation) if isinstance(annotation, dict) else None
    if box is None or 0 in box[2:] or min(box[2:]) > 0:
        return None
    x, y, width, height = box
    return {"bbox": [x + min(width, 0), y + min(height, 0), abs(width), abs(height)]}


def turn_box(box: Sequence[float], width: float, height: float, orientation: int) -> list[float]:
    """Turns a box (x, y, width, height) as EXIF's orientation turns its image.

    Args:
        box: in pixels of the image as it is stored.
        width, height: of the image as it is stored.
        orientation: from 1 to 8; the image is shown with its row 0 and column 0 at the top and
            left (1), top and right (2), bottom and right (3), bottom and left (4), left and top
            (5), right and top (6), right and bottom (7) or left and bottom (8) (Exif 2.32, 4.6.4).
    """
    x, y, w, h = box
    if orientation in (2, 3, 7, 8):
        x = width - x - w
    if orientation in (3, 4, 6, 7):
        y = height - y - h
    return [x, y, w, h] if orientation < 5 else [y, x, h, w]
