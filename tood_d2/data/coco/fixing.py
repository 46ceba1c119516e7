"""Repairs data in COCO's form where it is clear what is meant, and leaves out what is not."""

from collections.abc import Sequence

from .checking import Problem, check_annotations

_DROPPED = {
    *("missing-image", "unreadable-image", "exif-unturned"),
    *("bad-annotation", "unknown-image", "unknown-category"),
    *("bad-box", "empty-box", "tiny-box", "outside-box", "duplicate-box"),
}
_NEW_IDS = {"duplicate-annotation-id", "evaluation-id"}


def fix(content: dict, problems: Sequence[Problem], json_file: str) -> tuple[dict, list[str]]:
    """Cleans data of the problems that can be solved without asking.

    Boxes that cannot be trained on, repeated ones, and those of unknown images or categories are
    dropped, boxes that reach out of their image are clipped. Annotations get ids that evaluation
    can deal with, and an area and ``iscrowd`` if they have none. Images that cannot be read are
    dropped with their boxes, as are those whose boxes may belong to another orientation. An image
    gets the size that its file has.

    Args:
        content: of the file; not changed.
        problems: of :func:`.check_images`. Those that need no image are looked for here.
        json_file: its name.

    Returns:
        The content without these problems, and a line on each change.
    """
    content, changes = _solve(content, problems)
    new_changes = None
    # One change can make others necessary: boxes whose image is dropped, or smaller than said.
    while new_changes != []:
        content, new_changes = _solve(content, check_annotations(content, json_file))
        changes += new_changes
    content, new_changes = _complete(content, json_file)
    return content, changes + new_changes


def _solve(content: dict, problems: Sequence[Problem]) -> tuple[dict, list[str]]:
    """Solves the problems that concern one item each."""
    lists = {key: list(content[key]) for key in ("images", "annotations")}
    dropped = {}
    for problem in problems:
        if problem.kind in _DROPPED:
            dropped.setdefault(problem.item, f"{problem.where}: dropped: {problem.message}")
    changes = list(dropped.values())

    sizes = {x["id"]: (x.get("width"), x.get("height")) for x in lists["images"] if _has_id(x)}
    ids = [x["id"] for x in lists["annotations"] if _has_id(x)]
    last_id = max((id_ for id_ in ids if type(id_) is int), default=0)
    for problem in problems:
        if problem.item is None or problem.item in dropped:
            continue
        key, position = problem.item
        if problem.kind in _NEW_IDS:
            last_id = max(last_id, 0) + 1
            change = {"id": last_id}
        elif problem.kind == "wrong-size":
            change = dict(zip(("width", "height"), problem.size, strict=True))
        elif problem.kind == "partly-outside-box":
            annotation = content[key][position]
            change = _clip(annotation, *sizes[annotation["image_id"]])
        elif problem.kind == "ignore":
            change = {"ignore": 0, "iscrowd": 1}
        else:
            continue
        lists[key][position] = lists[key][position] | change
        changes.append(f"{problem.where}: {_describe(change)}: {problem.message}")

    for key, items in lists.items():
        lists[key] = [x for i, x in enumerate(items) if (key, i) not in dropped]
    return content | lists, changes


def _has_id(item: object) -> bool:
    return isinstance(item, dict) and type(item.get("id")) in (int, float, str)


def _describe(change: dict) -> str:
    return "now " + ", ".join(f"{key} {value!r}" for key, value in change.items())


def _clip(annotation: dict, width: float, height: float) -> dict:
    x, y, box_width, box_height = annotation["bbox"]
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + box_width, width), min(y + box_height, height)
    change = {"bbox": [x1, y1, x2 - x1, y2 - y1]}
    if not annotation.get("segmentation"):  # otherwise it is the area of that
        change["area"] = (x2 - x1) * (y2 - y1)
    return change


def _complete(content: dict, json_file: str) -> tuple[dict, list[str]]:
    """Gives annotations the fields that only evaluation reads."""
    annotations, changes = [], []
    for annotation in content["annotations"]:
        width, height = annotation["bbox"][2:]
        completed = {"area": width * height, "iscrowd": 0} | annotation
        annotations.append(completed)
        if change := {k: v for k, v in completed.items() if k not in annotation}:
            reason = f"{_describe(change)}: evaluation needs it"
            changes.append(f"{json_file}: annotation {annotation['id']!r}: {reason}")
    return content | {"annotations": annotations}, changes
