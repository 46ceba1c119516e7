"""Division of the images of data in COCO's form into overlapping tiles.

The tiles are those of SAHI's slices, so that training sees what :mod:`tood_d2.inference.slicing`
detects in. Boxes are cut here, as SAHI rounds areas down to whole pixels, which makes shares of
small boxes wrong and divides by zero for some.
"""

import random
from typing import NamedTuple

import numpy as np

from ...cli.requirements import check_sahi
from .annotation_arrays import MIN_BOX_SIDE, MIN_IMAGE_SIDE, AnnotationArrays, annotation_arrays


class Tile(NamedTuple):
    """A part of an image with its annotations."""

    image_row: int  # position in the list of images
    corners: tuple[int, int, int, int]  # left, top, right and bottom in pixels of the image
    annotations: list[dict]  # with boxes relative to the tile, without "id" and "image_id"
    annotation_rows: list[int]  # positions of what they are parts of
    num_cut: int  # annotations that reach out of the tile


def check_tiling(size: int, overlap: float, min_area_ratio: float) -> None:
    """Checks arguments of :func:`tile_images`.

    Raises:
        MissingRequirement: if SAHI is not installed.
        ValueError: if an argument is out of range.
    """
    if size < MIN_IMAGE_SIDE:
        raise ValueError(f"tiles of {size} pixels are not trained on: at least {MIN_IMAGE_SIDE}")
    if not 0 <= overlap < 1:
        raise ValueError(f"the overlap should be at least 0 and below 1, not {overlap}")
    if not 0 <= min_area_ratio <= 1:
        raise ValueError(f"the least share of a box should be from 0 to 1, not {min_area_ratio}")
    check_sahi()


def tile_images(
    content: dict, size: int, overlap: float = 0.2, min_area_ratio: float = 0.1
) -> list[Tile]:
    """Cuts the images of content into tiles, as large as they are where that is smaller.

    An object is annotated in each tile that has enough of its box. Crowds are in all tiles that
    they reach into, so that no detection in them counts. Of an annotation, "bbox", "area",
    "category_id" and "iscrowd" are kept; the area is taken to be evenly spread over the box.

    Args:
        content: sound, see :func:`.read_sound_coco`.
        size: sides of a tile, in pixels.
        overlap: of neighbouring tiles, as a part of the size.
        min_area_ratio: share of the area of a box, as far as it is in its image, that a tile needs
            to have.

    Raises:
        MissingRequirement, ValueError: see :func:`check_tiling`.
    """
    check_tiling(size, overlap, min_area_ratio)
    from sahi.slicing import get_slice_bboxes

    ratios = {"overlap_height_ratio": overlap, "overlap_width_ratio": overlap}
    arrays = annotation_arrays(content)
    category_ids = [x["id"] for x in content["categories"]]
    order = np.argsort(arrays.image_rows, kind="stable")
    starts = np.searchsorted(arrays.image_rows[order], np.arange(len(content["images"]) + 1))
    tiles = []
    for image_row, (width, height) in enumerate(arrays.image_sizes.astype(int).tolist()):
        rows = order[starts[image_row] : starts[image_row + 1]]
        for corners in map(tuple, get_slice_bboxes(height, width, size, size, **ratios)):
            cut = _cut(arrays, rows, corners, min_area_ratio)
            annotations = [
                {
                    "category_id": category_ids[arrays.category_rows[row]],
                    "bbox": box.tolist(),
                    "area": area,
                    "iscrowd": int(arrays.is_crowd[row]),
                }
                for row, box, area, _ in cut
            ]
            cut_rows, num_cut = [int(x[0]) for x in cut], sum(x[3] for x in cut)
            tiles.append(Tile(image_row, corners, annotations, cut_rows, num_cut))
    return tiles


def _cut(
    arrays: AnnotationArrays, rows: np.ndarray, corners: tuple, min_area_ratio: float
) -> list[tuple[int, np.ndarray, float, bool]]:
    """Row, box (4,), area and whether it is cut of each annotation that a tile has enough of."""
    boxes = arrays.boxes[rows]
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    start, end = np.maximum(start, 0), np.minimum(end, arrays.box_image_sizes()[rows])
    first, last = np.maximum(start, corners[:2]), np.minimum(end, corners[2:])
    sides = (last - first).clip(min=0)
    visible, areas = sides.prod(axis=1), (end - start).clip(min=0).prod(axis=1)
    is_cut = ((first > start) | (last < end)).any(axis=1)
    enough = (visible >= min_area_ratio * areas) & ((sides >= MIN_BOX_SIDE).all(axis=1) | ~is_cut)
    enough = (visible > 0) & (enough | arrays.is_crowd[rows])
    # Of the whole box, as the area may be that of a polygon that reaches out of the image, too.
    whole = boxes[:, 2:].prod(axis=1)
    areas = np.where(np.isnan(arrays.areas[rows]), whole, arrays.areas[rows])
    tile_boxes = np.concatenate([first - corners[:2], sides], axis=1)
    return [
        (rows[i], tile_boxes[i], float(areas[i] * visible[i] / whole[i]), bool(is_cut[i]))
        for i in np.flatnonzero(enough)
    ]


def drop_empty(tiles: list[Tile], kept_share: float = 0.0, seed: int = 0) -> list[Tile]:
    """The tiles with annotations, and a random share of those without."""
    empty = [i for i, tile in enumerate(tiles) if not tile.annotations]
    number = round(kept_share * len(empty))
    kept = {*random.Random(seed).sample(empty, number)}
    return [tile for i, tile in enumerate(tiles) if tile.annotations or i in kept]


def lost_rows(content: dict, tiles: list[Tile]) -> list[int]:
    """Positions of the objects that training would use and that no tile has."""
    found = {row for tile in tiles for row in tile.annotation_rows}
    return [
        int(i) for i in np.flatnonzero(annotation_arrays(content).trainable()) if i not in found
    ]
