"""Cuts data into overlapping tiles for training: the command `dataset.py slice`."""

import argparse
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from tood_d2.cli.outputs import check_folder, short_name, write_json
from tood_d2.data.coco.image_files import find_image_files
from tood_d2.data.coco.reading import check_image_headers, read_sound_coco
from tood_d2.data.coco.tiling import Tile, check_tiling, drop_empty, lost_rows, tile_images
from tood_d2.data.images import read_image
from tood_d2.text import printable

JPEG_QUALITY = 95

logger = logging.getLogger("tood_d2")


def slice_(args: argparse.Namespace) -> None:
    """Writes NAME.json and the folder NAME of tiles, for a JSON file of that name.

    Raises:
        FileExistsError: if one of them is there already.
        ValueError: if an option is out of range, an image cannot be read or no tile has a box.
    """
    if not 0 <= args.keep_empty <= 1:
        raise ValueError(f"--keep-empty should be from 0 to 1, not {args.keep_empty}")
    name = Path(args.json).stem
    json_file, folder = Path(args.out, f"{name}.json"), Path(args.out, name)
    for path in (json_file, folder):
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists already: choose another folder or remove it")
    check_folder(args.out)
    check_tiling(args.size, args.overlap, args.min_area_ratio)
    content = read_sound_coco(args.json)
    check_image_headers(content["images"], args.json, args.images, damaged_ok=False)
    tiles = tile_images(content, args.size, args.overlap, args.min_area_ratio)
    lost = lost_rows(content, tiles)
    kept = drop_empty(tiles, args.keep_empty, args.seed)
    if not any(tile.annotations for tile in kept):
        raise ValueError(f"{args.json} has no box that would be in a tile")
    paths = find_image_files([x["file_name"] for x in content["images"]], args.images)

    os.makedirs(args.out, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=args.out)
    try:
        names = list(_write_tiles(kept, paths, scratch, f".{args.format}"))
        os.chmod(scratch, 0o777 & ~_umask())
        os.rename(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_json(_tiled_content(content, kept, names), str(json_file))
    _print(args, content, tiles, kept, lost, [json_file, folder])


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _write_tiles(tiles: list[Tile], paths: list[str], folder: str, suffix: str) -> Iterator[str]:
    """Writes each tile and gives its name. Images are read once."""
    groups = itertools.groupby(tiles, key=lambda tile: tile.image_row)
    num_images = len({tile.image_row for tile in tiles})
    for row, group in tqdm(groups, total=num_images, unit="img", disable=None):
        pixels = read_image(paths[row], "RGB")
        for tile in group:
            left, top, right, bottom = tile.corners
            # Images in different folders can have the same name.
            stem = f"{row}_{Path(paths[row]).stem}"
            name = short_name(stem, f"_{left}_{top}{suffix}")
            picture = Image.fromarray(pixels[top:bottom, left:right])
            picture.save(os.path.join(folder, name), quality=JPEG_QUALITY)
            yield name


def _tiled_content(content: dict, tiles: list[Tile], names: list[str]) -> dict:
    images, annotations = [], []
    for id_, (tile, name) in enumerate(zip(tiles, names, strict=True), start=1):
        left, top, right, bottom = tile.corners
        image = {"id": id_, "file_name": name, "width": right - left, "height": bottom - top}
        source = content["images"][tile.image_row]
        images.append(image | {"source_file": source["file_name"], "source_offset": [left, top]})
        for annotation in tile.annotations:
            ids = {"id": len(annotations) + 1, "image_id": id_}
            annotations.append(ids | annotation)
    return content | {"images": images, "annotations": annotations}


def _print(
    args: argparse.Namespace,
    content: dict,
    tiles: list[Tile],
    kept: list[Tile],
    lost: list[int],
    written: list[Path],
) -> None:
    num_empty = len(content["images"]) - len({x["image_id"] for x in content["annotations"]})
    counts = [len(content["images"]), num_empty, len(content["annotations"])]
    rows = [[args.json, *counts]]
    num_empty = sum(not tile.annotations for tile in kept)
    rows.append([written[0], len(kept), num_empty, sum(len(x.annotations) for x in kept)])
    print(tabulate(rows, ["file", "images", "without boxes", "boxes"]))
    num_cut = sum(tile.num_cut for tile in kept)
    print(f"{len(tiles) - len(kept)} tiles without boxes are left out, {num_cut} boxes are cut")
    if lost:
        ids = [repr(content["annotations"][row].get("id")) for row in lost[:5]]
        more = ", ..." if len(lost) > 5 else ""
        logger.warning(
            f"{args.json}: {len(lost)} boxes are in no tile, as each has less than "
            f"{args.min_area_ratio:g} of them: annotations {printable(', '.join(ids))}{more}"
        )
    print(f"folder of the images: {written[1]}")
