"""Division of data in COCO's form into parts, such as training and test data."""

import itertools
import math
import random
from collections.abc import Sequence


def split_images(content: dict, fractions: Sequence[float], seed: int = 0) -> list[dict]:
    """Deals out the images at random, each with its annotations.

    Images and annotations stay in their order, and each part has all categories.

    Args:
        content: sound, see :func:`.read_sound_coco`; not changed.
        fractions: of the images in each part, 1 in total.
        seed: of the choice.

    Raises:
        ValueError: if the fractions are not those of a whole, or a part would have no image.
    """
    if min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(f"fractions should be above 0 and 1 in total, not {list(fractions)}")
    ids = [image["id"] for image in content["images"]]
    ends = [round(len(ids) * x) for x in itertools.accumulate(fractions)]
    parts_of_rows = [sum(row >= end for end in ends[:-1]) for row in range(len(ids))]
    if {*parts_of_rows} != {*range(len(fractions))}:
        raise ValueError(f"{len(ids)} images are too few for fractions of {list(fractions)}")
    random.Random(seed).shuffle(parts_of_rows)
    part_of = dict(zip(ids, parts_of_rows, strict=True))
    return [
        content
        | {
            "images": [x for x in content["images"] if part_of[x["id"]] == part],
            "annotations": [x for x in content["annotations"] if part_of[x["image_id"]] == part],
        }
        for part in range(len(fractions))
    ]
