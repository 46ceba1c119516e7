"""Data in COCO's form are the same after a conversion to VOC's and YOLO's form and back."""

import json
import os
from pathlib import Path

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from label_files import boxes, save_image, write, xml

from tood_d2.data.conversion import convert_voc, convert_yolo

# 6 decimals of a box in at most 1000 pixels, 1.5 times, and rounding to 3 decimals.
TOLERANCE = 1.5 * 0.5e-6 * 1000 + 0.5e-3 + 1e-9


def write_voc(content, image_root, root, split):
    """Writes content of COCO's form as VOC, its images as links."""
    for file_name, objects in boxes(content).items():
        link(Path(image_root, file_name), root / "JPEGImages" / file_name)
        size = next(
            (x["width"], x["height"]) for x in content["images"] if x["file_name"] == file_name
        )
        corners = [(name, x + 1, y + 1, x + w, y + h) for name, x, y, w, h in objects]
        path = root / "Annotations" / Path(file_name).with_suffix(".xml")
        write(path, xml(*corners, size=size, filename=file_name))
    stems = [Path(x["file_name"]).stem for x in content["images"]]
    write(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(stems))


def write_yolo(content, image_root, root, split):
    """Writes content of COCO's form as YOLO, with the 6 decimals that are usual."""
    names = [x["name"] for x in content["categories"]]
    sizes = {x["file_name"]: (x["width"], x["height"]) for x in content["images"]}
    for file_name, objects in boxes(content).items():
        link(Path(image_root, file_name), root / "images" / split / file_name)
        width, height = sizes[file_name]
        rows = [
            f"{names.index(name)} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
            f"{w / width:.6f} {h / height:.6f}\n"
            for name, x, y, w, h in objects
        ]
        write(root / "labels" / split / Path(file_name).with_suffix(".txt"), "".join(rows))
    write(root / "data.yaml", json.dumps({split: f"images/{split}", "names": names}))


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(source, target)


def assert_same(first, second, tolerance=0):
    """Compares boxes by image, in any order of the images."""
    first, second = ({k: sorted(v) for k, v in boxes(x).items()} for x in (first, second))
    assert set(first) == set(second)
    for key, objects in first.items():
        others = second[key]
        assert len(objects) == len(others)
        # Sorted boxes may change places within the tolerance, so that each looks for its partner.
        for name, *box in objects:
            partner = min(
                others, key=lambda x: (x[0] != name, np.abs(np.subtract(x[1:], box)).max())
            )
            assert partner[0] == name
            assert np.abs(np.subtract(partner[1:], box)).max() <= tolerance
            others.remove(partner)


@st.composite
def contents(draw):
    """Data sets of a few images with whole-numbered boxes, and their sizes."""
    width, height = draw(st.integers(32, 1000)), draw(st.integers(32, 1000))
    names = draw(
        st.lists(
            st.text("abc <>&é", min_size=1).map(str.strip).filter(bool),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    annotations = []
    for image_id in (1, 2):
        for _ in range(draw(st.integers(0, 3))):
            x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            box = [x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y))]
            annotations.append({"image_id": image_id, "bbox": box})
            annotations[-1] |= {"id": len(annotations), "area": box[2] * box[3], "iscrowd": 0}
            annotations[-1]["category_id"] = draw(st.integers(1, len(names)))
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": width, "height": height} for i in (1, 2)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }


@given(contents())
def test_voc_and_yolo_there_and_back_give_the_same_boxes(tmp_path_factory, content):
    assume(content["annotations"])
    folder = tmp_path_factory.mktemp("data")
    for image in content["images"]:
        save_image(folder / image["file_name"], (image["width"], image["height"]))
    write_voc(content, folder, folder / "voc", "train")
    assert_same(content, convert_voc(folder / "voc").splits["train"])
    write_yolo(content, folder, folder / "yolo", "train")
    converted = convert_yolo(folder / "yolo" / "data.yaml").splits["train"]
    assert_same(content, converted, tolerance=TOLERANCE)
    assert converted["categories"] == content["categories"]
