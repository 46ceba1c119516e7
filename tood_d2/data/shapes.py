"""A small synthetic detection data set: coloured shapes on soft backgrounds, in COCO format.

It takes seconds to make and minutes to learn, which is what demonstrations and end-to-end tests
need. Every image depends on the seed, its split and its id alone, so a larger data set extends a
smaller one.
"""

import colorsys
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

# As in COCO, the ids do not start at 0 and are not contiguous.
CATEGORIES = {1: "circle", 2: "rectangle", 4: "triangle", 5: "star"}

WIDTH, HEIGHT = 320, 240
MAX_OBJECTS = 6
SIZE_RANGE = (32, 140)  # diameter of a shape's circumscribed circle, in pixels
MAX_HIDDEN = 0.15  # largest part of a shape that later shapes may cover
EMPTY_EVERY = 30  # one image in this many has no object


def make_shapes(
    output_dir: str | Path, num_train: int = 300, num_val: int = 60, seed: int = 0
) -> bool:
    """Writes the data set to a folder, unless the folder already holds it.

    The folder gets ``train.json`` and ``val.json`` in COCO's format, with boxes that are tight
    around the visible pixels of each shape, and the images as ``train/000001.png``, ... and
    ``val/000001.png``, .... It appears only once it is complete.

    Args:
        output_dir: folder to create; an empty one may exist already.
        num_train: number of training images, at least 1.
        num_val: number of validation images, at least 1.
        seed: non-negative seed of all that is random.

    Returns:
        True if the data set was made, False if the folder already held the same one.

    Raises:
        ValueError: a number of images is below 1 or the seed is negative.
        FileExistsError: the folder holds anything else.
    """
    if num_train < 1 or num_val < 1 or seed < 0:
        raise ValueError(
            "num_train and num_val must be at least 1 and seed at least 0, "
            f"got {num_train}, {num_val} and {seed}"
        )
    output_dir = Path(output_dir)
    info = {
        "description": "Coloured shapes",
        "version": "1.0",
        "parameters": {"num_train": num_train, "num_val": num_val, "seed": seed},
    }
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        if _recorded_info(output_dir) == info:
            return False
        raise FileExistsError(
            f"{output_dir} already exists and is not this data set: remove it or choose another"
        )

    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shapes-", dir=output_dir.parent) as scratch:
        complete = Path(scratch, "shapes")
        for split, num_images in (("train", num_train), ("val", num_val)):
            _write_split(complete, split, num_images, seed, info)
        complete.rename(output_dir)
    return True


def polygon_mask(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rasterizes a polygon: a pixel belongs to it if the pixel's centre lies inside.

    Args:
        polygon: (N, 2) array of the corners' x and y in pixels, where the top left pixel covers
            [0, 1) x [0, 1). The polygon is closed, need not be convex and may leave the image.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        Boolean array of shape (height, width).
    """
    x = np.arange(width) + 0.5
    y = np.arange(height)[:, None] + 0.5
    inside = np.zeros((height, width), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:  # a horizontal edge crosses no row of centres
            crosses = (y0 <= y) != (y1 <= y)
            inside ^= crosses & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside


def _recorded_info(output_dir: Path) -> dict | None:
    try:
        return json.loads((output_dir / "train.json").read_text())["info"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        return None


def _write_split(root: Path, split: str, num_images: int, seed: int, info: dict) -> None:
    (root / split).mkdir(parents=True)
    images, annotations = [], []
    for image_id in tqdm(range(1, num_images + 1), desc=f"{split} images", unit="img"):
        entropy = (seed, ("train", "val").index(split), image_id)
        rng = np.random.Generator(np.random.PCG64(entropy))
        num_objects = 0 if image_id % EMPTY_EVERY == 0 else rng.integers(1, MAX_OBJECTS + 1)
        category_ids, owner = _place_objects(rng, num_objects)
        file_name = f"{image_id:06d}.png"
        image = Image.fromarray(_paint(rng, category_ids, owner))
        image.save(root / split / file_name, compress_level=1)  # three times as fast

        images.append({"id": image_id, "file_name": file_name, "width": WIDTH, "height": HEIGHT})
        for number, category_id in enumerate(category_ids, start=1):
            ys, xs = np.nonzero(owner == number)
            x, y = int(xs.min()), int(ys.min())
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": [x, y, int(xs.max()) + 1 - x, int(ys.max()) + 1 - y],
                    "area": len(xs),
                    "iscrowd": 0,
                }
            )

    dataset = {
        "info": info,
        "licenses": [{"id": 1, "name": "Apache-2.0"}],
        "categories": [{"id": id_, "name": name} for id_, name in CATEGORIES.items()],
        "images": images,
        "annotations": annotations,
    }
    (root / f"{split}.json").write_text(json.dumps(dataset))


def _place_objects(rng: np.random.Generator, num_objects: int) -> tuple[list[int], np.ndarray]:
    """Places shapes one over the other, dropping those for which there is no room.

    Returns:
        The shapes' category ids, and an array of shape (HEIGHT, WIDTH) that tells whose each
        pixel is: 0 is background, n is the n-th shape.
    """
    owner = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    category_ids: list[int] = []
    areas = np.zeros(MAX_OBJECTS + 1)  # before being covered; areas[0] is not used
    for _ in range(20 * num_objects):
        if len(category_ids) == num_objects:
            break
        category_id = int(rng.choice(list(CATEGORIES)))
        mask = polygon_mask(_random_polygon(rng, CATEGORIES[category_id]), HEIGHT, WIDTH)
        number = len(category_ids) + 1
        visible = np.bincount(np.where(mask, 0, owner).ravel(), minlength=MAX_OBJECTS + 1)
        if np.any(visible[1:number] < (1 - MAX_HIDDEN) * areas[1:number]):
            continue
        owner[mask] = number
        areas[number] = mask.sum()
        category_ids.append(category_id)
    return category_ids, owner


def _random_polygon(rng: np.random.Generator, name: str) -> np.ndarray:
    """Returns the (N, 2) corners of a shape that lies inside the image."""
    radius = np.exp(rng.uniform(*np.log(SIZE_RANGE))) / 2
    center = rng.uniform((radius, radius), (WIDTH - radius, HEIGHT - radius))
    turn, aspect = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.5, 0.5))
    if name == "rectangle":
        half = np.array([aspect, 1]) * radius / np.hypot(aspect, 1)
        corners = half * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    else:
        num_corners = {"circle": 72, "triangle": 3, "star": 10}[name]
        angles = turn + np.arange(num_corners) * 2 * np.pi / num_corners
        corners = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if name == "star":
            corners[1::2] *= 0.45
    # Rounded, so that the last bits of sin, cos and exp make no difference between machines.
    return np.round(center + corners, 2)


def _paint(rng: np.random.Generator, category_ids: list[int], owner: np.ndarray) -> np.ndarray:
    """Returns an RGB image, (HEIGHT, WIDTH, 3) uint8: a gradient, shapes in one colour each, grain.

    Backgrounds are pale or dark, shapes are vivid, so that every shape stands out. Each category
    has its own part of the colour circle, which makes it quick to learn.
    """
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j][..., None]
    brightness = (0.8, 1) if rng.random() < 0.7 else (0.15, 0.35)
    corners = [_color(rng, (0, 1), (0.1, 0.3), brightness) for _ in range(4)]
    top = (1 - x) * corners[0] + x * corners[1]
    bottom = (1 - x) * corners[2] + x * corners[3]
    image = (1 - y) * top + y * bottom
    for number, category_id in enumerate(category_ids, start=1):
        sector = list(CATEGORIES).index(category_id)
        hue = sector / len(CATEGORIES), (sector + 1) / len(CATEGORIES)
        image[owner == number] = _color(rng, hue, (0.65, 0.95), (0.6, 0.95))
    image += rng.integers(-5, 6, size=(HEIGHT, WIDTH, 1))
    return image.clip(0, 255).astype(np.uint8)


def _color(rng: np.random.Generator, *hsv_ranges: tuple[float, float]) -> np.ndarray:
    hsv = [rng.uniform(low, high) for low, high in hsv_ranges]
    return 255 * np.array(colorsys.hsv_to_rgb(*hsv))
