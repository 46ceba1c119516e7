"""Data in VOC's and YOLO's form become COCO's boxes, worked out by hand and there and back."""

import json
import os
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tood_d2.data.coco.checking import check_annotations
from tood_d2.data.conversion import convert_voc, convert_yolo

# 6 decimals of a box in at most 1000 pixels, 1.5 times, and rounding to 3 decimals.
TOLERANCE = 1.5 * 0.5e-6 * 1000 + 0.5e-3 + 1e-9

BCCD = Path(__file__).resolve().parents[2].parent / "shared/data/bccd"


def save_image(path, size=(40, 30), orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def boxes(content):
    """Boxes of each image as {file name: [(class, *box)]}."""
    names = {x["id"]: x["name"] for x in content["categories"]}
    found = {x["id"]: (x["file_name"], []) for x in content["images"]}
    for x in content["annotations"]:
        found[x["image_id"]][1].append((names[x["category_id"]], *x["bbox"]))
    return dict(found.values())


def xml(*objects, size=(40, 30), filename="a.jpg"):
    """A VOC file; an object is (name, xmin, ymin, xmax, ymax)."""
    items = [f"<annotation><filename>{filename}</filename>"]
    if size:
        items.append(f"<size><width>{size[0]}</width><height>{size[1]}</height></size>")
    for name, *box in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        items.append(f"<object><name>{escape(name)}</name><bndbox>{corners}</bndbox></object>")
    return "".join(items) + "</annotation>"


class TestVoc:
    @pytest.fixture
    def root(self, tmp_path):
        """A folder with one image, a.jpg, with a dog and a cat."""
        save_image(tmp_path / "JPEGImages" / "a.jpg")
        # From the first pixel on 10 pixels wide, 5 high; one pixel; not whole numbers.
        objects = [("dog", 1, 1, 10, 5), ("cat", 40, 30, 40, 30), ("cat", 1.5, 2, 3.25, 4)]
        write(tmp_path / "Annotations" / "a.xml", xml(*objects))
        return tmp_path

    def test_pixels_count_from_one_and_include_the_last(self, root):
        image_root, splits = convert_voc(root)
        assert image_root == root / "JPEGImages" and list(splits) == ["all"]
        assert splits["all"] == {
            "info": {},
            "licenses": [],
            "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": c, "bbox": b, "area": a, "iscrowd": 0}
                for i, c, b, a in (
                    (1, 2, [0, 0, 10, 5], 50),
                    (2, 1, [39, 29, 1, 1], 1),
                    (3, 1, [0.5, 1, 2.75, 3], 8.25),
                )
            ],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }

    def test_pixels_may_count_from_zero_and_exclude_the_last(self, root):
        content = convert_voc(root, one_based=False).splits["all"]
        assert boxes(content)["a.jpg"] == [
            ("dog", 1, 1, 9, 4),
            ("cat", 40, 30, 0, 0),
            ("cat", 1.5, 2, 1.75, 2),
        ]

    def test_difficult_objects_are_left_out_on_request(self, root):
        path = root / "Annotations" / "a.xml"
        hard = "<object><difficult>1</difficult>"
        path.write_text(path.read_text().replace("<object>", hard, 1))
        assert len(convert_voc(root).splits["all"]["annotations"]) == 3
        content = convert_voc(root, keep_difficult=False).splits["all"]
        assert [x[0] for x in boxes(content)["a.jpg"]] == ["cat", "cat"]

    def test_parts_are_no_objects(self, root):
        part = "<part><name>head</name><bndbox><xmin>7</xmin></bndbox></part>"
        text = xml(("dog", 1, 1, 10, 5)).replace("</object>", part + "</object>")
        write(
            root / "Annotations" / "a.xml", text.replace("<object><name>", f"<object>{part}<name>")
        )
        assert boxes(convert_voc(root).splits["all"])["a.jpg"] == [("dog", 0, 0, 10, 5)]

    def test_image_sets_become_splits(self, root):
        for name in ("b", "c"):
            save_image(root / "JPEGImages" / f"{name}.png", (50, 20))
        write(root / "Annotations" / "b.xml", xml(("ant", 1, 1, 2, 2)))
        sets = root / "ImageSets" / "Main"
        write(sets / "train.txt", "a\n\n c \n")
        write(sets / "val.txt", "b.png\n")
        write(sets / "dog_train.txt", "a  1\nc -1\n")
        write(sets / "test.txt", "")
        splits = convert_voc(root).splits
        assert list(splits) == ["train", "val"]
        assert {k: len(v) for k, v in boxes(splits["train"]).items()} == {"a.jpg": 3, "c.png": 0}
        assert boxes(splits["val"]) == {"b.png": [("ant", 0, 0, 2, 2)]}
        assert splits["train"]["images"][1] == {
            "id": 2,
            "file_name": "c.png",
            "width": 50,
            "height": 20,
        }
        names = [x["name"] for x in splits["val"]["categories"]]
        assert names == ["ant", "cat", "dog"]
        assert splits["train"]["categories"] == splits["val"]["categories"]

    @pytest.mark.parametrize("size", [None, (0, 0)])
    def test_a_size_that_is_not_given_is_that_of_the_turned_image(self, root, size):
        save_image(root / "JPEGImages" / "a.jpg", (33, 44), orientation=6)
        write(root / "Annotations" / "a.xml", xml(size=size))
        image = convert_voc(root).splits["all"]["images"][0]
        assert (image["width"], image["height"]) == (44, 33)

    def test_the_name_of_the_xml_file_counts(self, root):
        """As after renaming files: the name of the XML file counts."""
        save_image(root / "JPEGImages" / "b.jpg")
        write(root / "Annotations" / "a.xml", xml(("dog", 1, 1, 10, 5), filename="b.jpg"))
        expected = {"a.jpg": [("dog", 0, 0, 10, 5)], "b.jpg": []}
        assert boxes(convert_voc(root).splits["all"]) == expected

    def test_of_images_that_differ_in_their_suffix_the_named_one_counts(self, root):
        save_image(root / "JPEGImages" / "a.png")
        assert list(boxes(convert_voc(root).splits["all"])) == ["a.jpg"]
        write(root / "Annotations" / "a.xml", xml(filename="a"))
        with pytest.raises(FileNotFoundError, match=r"a\.xml has several images"):
            convert_voc(root)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<annotation>", r"a\.xml cannot be read as XML: no element"),
            ("", r"a\.xml cannot be read as XML"),
            (xml(("", 1, 1, 2, 2)), r"a\.xml, object 1 has no <name>"),
            (xml(("dog", 1, 1, 2, 2), ("cat", 1, 1, "x", 2)), "object 2: <bndbox/xmax>.*'x'"),
            (xml(("dog", 1, "nan", 2, 2)), "object 1: <bndbox/ymin>"),
            (xml(("dog", 1, 1, 2, 2)).replace("bndbox", "box"), "object 1: <bndbox/xmin>"),
            (xml(size=("wide", 3)), r"a\.xml: <size/width> .* 'wide'"),
        ],
    )
    def test_malformed_files_are_named(self, root, text, message):
        write(root / "Annotations" / "a.xml", text)
        with pytest.raises(ValueError, match=message):
            convert_voc(root)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    @pytest.mark.parametrize(
        "doctype",
        [
            '<!DOCTYPE x [<!ENTITY a "dog">]>',
            '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
            '<!DOCTYPE x [<!ENTITY b "'
            + "dog" * 99
            + '"><!ENTITY c "'
            + "&b;" * 99
            + '"><!ENTITY d "'
            + "&c;" * 99
            + '"><!ENTITY a "'
            + "&d;" * 99
            + '">]>',
            '<!DOCTYPE x SYSTEM "file:///etc/hostname">',
        ],
    )
    def test_document_types_are_refused(self, root, doctype, encoding):
        text = xml(("dog", 1, 1, 2, 2)).replace("dog", "&a;")
        header = f'<?xml version="1.0" encoding="{encoding}"?>'
        (root / "Annotations" / "a.xml").write_bytes((header + doctype + text).encode(encoding))
        with pytest.raises(ValueError, match=r"a\.xml .*DOCTYPE"):
            convert_voc(root)

    def test_missing_files_are_named(self, root, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            convert_voc(tmp_path / "nowhere")
        write(root / "ImageSets" / "Main" / "train.txt", "a\nb\n")
        with pytest.raises(FileNotFoundError, match=r"train\.txt, line 2: 'b' has no image"):
            convert_voc(root)
        write(root / "Annotations" / "b.xml", xml())
        (root / "JPEGImages" / "a.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"a\.xml has no image"):
            convert_voc(root)

    def test_a_folder_without_images_is_refused(self, tmp_path):
        for name in ("Annotations", "JPEGImages"):
            (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match="has no images"):
            convert_voc(tmp_path)


class TestYolo:
    @pytest.fixture
    def data_yaml(self, tmp_path):
        """A data.yaml of images/train/a.jpg with two boxes and images/val/b.jpg without labels."""
        save_image(tmp_path / "images" / "train" / "a.jpg")
        save_image(tmp_path / "images" / "val" / "b.jpg", (20, 50))
        # The first covers the left half; the second is 10 x 6 around (20, 15).
        write(tmp_path / "labels" / "train" / "a.txt", "1 .25 .5 .5 1\n\n0 0.5 0.5 0.25 0.2\n")
        return self.write(tmp_path)

    @staticmethod
    def write(folder, **changes):
        config = {"train": "images/train", "val": "images/val", "names": ["dog", "cat"]} | changes
        write(folder / "data.yaml", yaml.safe_dump(config))
        return folder / "data.yaml"

    def test_relative_centres_become_pixels_from_the_corner(self, data_yaml):
        image_root, splits = convert_yolo(data_yaml)
        assert image_root == data_yaml.parent / "images" and list(splits) == ["train", "val"]
        assert splits["train"] == {
            "info": {},
            "licenses": [],
            "images": [{"id": 1, "file_name": "train/a.jpg", "width": 40, "height": 30}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": c, "bbox": b, "area": a, "iscrowd": 0}
                for i, c, b, a in ((1, 2, [0, 0, 20, 30], 600), (2, 1, [15, 12, 10, 6], 60))
            ],
            "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        }
        assert boxes(splits["val"]) == {"val/b.jpg": []}
        assert splits["val"]["categories"] == splits["train"]["categories"]

    def test_an_empty_label_file_means_no_boxes(self, data_yaml):
        write(data_yaml.parent / "labels" / "val" / "b.txt", "\n")
        assert boxes(convert_yolo(data_yaml).splits["val"]) == {"val/b.jpg": []}

    def test_polygons_become_their_bounding_boxes(self, data_yaml):
        label_file = data_yaml.parent / "labels" / "train" / "a.txt"
        label_file.write_text("0 0.25 0.5 0.5 0.1 0.75 0.9\n")
        content = convert_yolo(data_yaml).splits["train"]
        assert boxes(content)["train/a.jpg"] == [("dog", 10, 3, 20, 24)]

    def test_keypoints_are_left_out(self, data_yaml):
        self.write(data_yaml.parent, kpt_shape=[1, 3])
        label_file = data_yaml.parent / "labels" / "train" / "a.txt"
        label_file.write_text("0 0.5 0.5 0.25 0.2 0.1 0.1 2\n")
        content = convert_yolo(data_yaml).splits["train"]
        assert boxes(content)["train/a.jpg"] == [("dog", 15, 12, 10, 6)]

    def test_labels_are_those_of_the_turned_image(self, data_yaml):
        # Stored as 40 x 30, shown as 30 x 40: the labels are of what is shown.
        save_image(data_yaml.parent / "images" / "train" / "a.jpg", orientation=6)
        content = convert_yolo(data_yaml).splits["train"]
        assert (content["images"][0]["width"], content["images"][0]["height"]) == (30, 40)
        assert boxes(content)["train/a.jpg"][0] == ("cat", 0, 0, 15, 40)

    @pytest.mark.parametrize(
        "names", [{0: "dog", 1: "cat"}, {1: "cat", 0: "dog"}, {"0": "dog", "1": "cat"}]
    )
    def test_names_may_be_numbered(self, data_yaml, names):
        self.write(data_yaml.parent, names=names, nc=2)
        content = convert_yolo(data_yaml).splits["val"]
        assert content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]

    def test_ten_classes_stay_in_order(self, data_yaml):
        self.write(data_yaml.parent, names={i: f"c{i}" for i in reversed(range(12))})
        categories = convert_yolo(data_yaml).splits["val"]["categories"]
        assert [x["name"] for x in categories] == [f"c{i}" for i in range(12)]

    def test_path_is_the_folder_of_the_splits(self, data_yaml, tmp_path):
        folder = data_yaml.parent
        (folder / "sub").mkdir()
        for path in (str(folder), ".."):
            moved = self.write(folder / "sub", path=path, test=None)
            assert convert_yolo(moved) == convert_yolo(data_yaml)

    def test_folders_may_be_one_too_high(self, data_yaml):
        expected = convert_yolo(data_yaml)
        self.write(data_yaml.parent, train="../images/train", val="../images/val")
        assert convert_yolo(data_yaml) == expected

    def test_hidden_files_and_texts_are_no_images(self, data_yaml):
        folder = data_yaml.parent / "images" / "train"
        write(folder / "notes.txt", "")
        write(folder / "._a.jpg", "")
        save_image(folder / "sub" / "C.JPG")
        names = list(boxes(convert_yolo(data_yaml).splits["train"]))
        assert names == ["train/a.jpg", "train/sub/C.JPG"]

    def test_a_split_may_have_several_folders(self, data_yaml):
        self.write(data_yaml.parent, train=["images/train", "images/val"], val=None)
        splits = convert_yolo(data_yaml).splits
        assert list(splits) == ["train"]
        assert list(boxes(splits["train"])) == ["train/a.jpg", "val/b.jpg"]

    def test_a_text_file_may_list_the_images(self, data_yaml):
        folder = data_yaml.parent
        lines = ["./images/val/b.jpg", "", str(folder / "images" / "train" / "a.jpg")]
        write(folder / "list.txt", "\n".join(lines))
        self.write(folder, train="list.txt", val=None)
        assert list(boxes(convert_yolo(data_yaml).splits["train"])) == ["val/b.jpg", "train/a.jpg"]

    def test_each_split_may_have_its_images_and_labels(self, tmp_path):
        """As in exports that have train/images and train/labels."""
        for split in ("train", "val"):
            save_image(tmp_path / split / "images" / "a.jpg")
            write(tmp_path / split / "labels" / "a.txt", "0 .5 .5 1 1")
        data_yaml = self.write(tmp_path, train="train/images", val="val/images")
        image_root, splits = convert_yolo(data_yaml)
        assert image_root == tmp_path
        assert boxes(splits["val"]) == {"val/images/a.jpg": [("dog", 0, 0, 40, 30)]}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0 .5 .5 .1 .1\n0 .5 .5 .1", "line 2: .* 3 numbers"),
            ("0 .5 .5 .1 .1 .9", "line 1: .* 5 numbers"),
            ("0", "line 1: .* 0 numbers"),
            ("dog .5 .5 .1 .1", "line 1: .*'dog'"),
            ("2 .5 .5 .1 .1", "line 1: class 2 is not among the 2"),
            ("-1 .5 .5 .1 .1", "line 1: class -1"),
            ("0.5 .5 .5 .1 .1", "line 1: class 0.5"),
            ("0 20 15 10 6", "line 1: .*relative to the image's size"),
            ("0 nan .5 .1 .1", "line 1: .*relative"),
        ],
    )
    def test_malformed_labels_are_named_with_their_line(self, data_yaml, text, message):
        write(data_yaml.parent / "labels" / "train" / "a.txt", text)
        with pytest.raises(ValueError, match=rf"a\.txt, {message}"):
            convert_yolo(data_yaml)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"names": None}, ValueError, "'names'"),
            ({"names": {1: "dog", 2: "cat"}}, ValueError, "from 0 on"),
            ({"names": ["dog", "dog"]}, ValueError, "twice"),
            ({"names": [["dog"], ["cat"]]}, ValueError, "'names' should list"),
            ({"nc": 3}, ValueError, "'nc' should be 2, as many as 'names' has"),
            ({"path": ["a"]}, ValueError, "'train' should be a folder"),
            ({"train": {"a": "b"}}, ValueError, "'train' should be a folder"),
            ({"val": ["images/val", "nowhere"]}, FileNotFoundError, "'val': .*nowhere"),
            ({"train": "nowhere"}, FileNotFoundError, "'train': .*nowhere: no such folder"),
            ({"train": None, "val": None}, ValueError, "none of train, val, test"),
            ({"train": "labels/train"}, ValueError, "'train': .* has no images"),
        ],
    )
    def test_malformed_data_yaml_is_named(self, data_yaml, changes, error, message):
        self.write(data_yaml.parent, **changes)
        with pytest.raises(error, match=rf"data\.yaml.*{message}"):
            convert_yolo(data_yaml)

    def test_broken_files_are_named(self, data_yaml, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
            convert_yolo(tmp_path / "nowhere.yaml")
        (data_yaml.parent / "images" / "train" / "a.jpg").write_text("no image")
        with pytest.raises(ValueError, match=r"a\.jpg is not an image"):
            convert_yolo(data_yaml)
        write(data_yaml.parent / "list.txt", "images/val/b.jpg\nc.jpg")
        self.write(data_yaml.parent, train="list.txt")
        with pytest.raises(FileNotFoundError, match=r"list\.txt, line 2: c\.jpg"):
            convert_yolo(data_yaml)
        for text, message in (
            ("b: 1\na: [", r" is not YAML: (?s:.)*expected (?s:.)* line 2"),
            ("[" * 10_000, " is not YAML"),
            ("- 1", " should have keys"),
            ("a: " + "0" * 1_000_000, " has more than 1000000 bytes"),
        ):
            data_yaml.write_text(text)
            with pytest.raises(ValueError, match=f"data.yaml{message}"):
                convert_yolo(data_yaml)

    def test_a_split_whose_folder_is_absent_is_left_out(self, data_yaml, log):
        self.write(data_yaml.parent, test="../test/images")
        assert list(convert_yolo(data_yaml).splits) == ["train", "val"]
        (message,) = log.messages
        assert "data.yaml: 'test' is left out: " in message and "test/images" in message

    def test_without_any_split_conversion_fails(self, data_yaml):
        self.write(data_yaml.parent, train=None, val="nowhere")
        with pytest.raises(ValueError, match="none of train, val, test has an image"):
            convert_yolo(data_yaml)

    def test_class_names_are_kept_as_they_are_written(self, data_yaml):
        names = "names: [no, yes, on, 010, 1:30, 1e3, null]"
        data_yaml.write_text(f"train: images/train\ntest: null\nnc: 7\n{names}\n")
        categories = convert_yolo(data_yaml).splits["train"]["categories"]
        assert [x["name"] for x in categories] == [
            *("no", "yes", "on", "010", "1:30", "1e3", "null")
        ]


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
    folder = tmp_path_factory.mktemp("data")
    for image in content["images"]:
        save_image(folder / image["file_name"], (image["width"], image["height"]))
    write_voc(content, folder, folder / "voc", "train")
    assert_same(content, convert_voc(folder / "voc").splits["train"])
    write_yolo(content, folder, folder / "yolo", "train")
    converted = convert_yolo(folder / "yolo" / "data.yaml").splits["train"]
    assert_same(content, converted, tolerance=TOLERANCE)
    assert converted["categories"] == content["categories"]


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs the BCCD data")
def test_real_data_there_and_back_give_the_same_boxes(tmp_path):
    for split in ("train", "val"):
        content = json.loads((BCCD / "annotations" / f"bccd_{split}.json").read_text())
        write_voc(content, BCCD / "images", tmp_path / "voc", split)
        write_yolo(content, BCCD / "images", tmp_path / split, split)
        converted = convert_yolo(tmp_path / split / "data.yaml").splits[split]
        assert_same(content, converted, tolerance=TOLERANCE)
        assert len(converted["annotations"]) == {"train": 2800, "val": 1135}[split]
    splits = convert_voc(tmp_path / "voc").splits
    for split, converted in splits.items():
        content = json.loads((BCCD / "annotations" / f"bccd_{split}.json").read_text())
        assert_same(content, converted)
        assert [x["name"] for x in converted["categories"]] == ["Platelets", "RBC", "WBC"]
        assert check_annotations(converted, split) == []
