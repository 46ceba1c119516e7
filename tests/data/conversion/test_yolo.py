"""Files in YOLO's form become COCO's boxes, worked out by hand."""

import pytest
import yaml
from label_files import boxes, save_image, write

from tood_d2.data.conversion import convert_yolo


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

    def test_polygons_among_boxes_are_noted(self, data_yaml, log):
        label_file = data_yaml.parent / "labels" / "train" / "a.txt"
        label_file.write_text("0 .5 .5 .25 .2\n0 .25 .5 .5 .1 .75 .9 .1 .1\n")
        convert_yolo(data_yaml)
        assert "polygons among boxes" in log.messages[-1] and "a.txt, line 2" in log.messages[-1]

    def test_keypoints_are_left_out(self, data_yaml):
        self.write(data_yaml.parent, kpt_shape=[1, 3])
        label_file = data_yaml.parent / "labels" / "train" / "a.txt"
        label_file.write_text("0 0.5 0.5 0.25 0.2 0.1 0.1 2\n0 0.5 0.5 0.25 0.2\n")
        content = convert_yolo(data_yaml).splits["train"]
        assert boxes(content)["train/a.jpg"] == 2 * [("dog", 15, 12, 10, 6)]
        label_file.write_text("0 0.5 0.5 0.25 0.2 0.1 0.1 0.1 0.1\n")
        with pytest.raises(ValueError, match=r"a\.txt, line 1: 8 numbers .* 'kpt_shape' .* 3 for"):
            convert_yolo(data_yaml)

    def test_scores_are_left_out_on_request(self, data_yaml):
        label_file = data_yaml.parent / "labels" / "train" / "a.txt"
        label_file.write_text("0 .5 .5 .25 .2 .91\n0 .5 .5 .25 .2\n0 .25 .5 .5 .1 .75 .9 .3\n")
        content = convert_yolo(data_yaml, drop_scores=True).splits["train"]
        box = ("dog", 15, 12, 10, 6)
        assert boxes(content)["train/a.jpg"] == [box, box, ("dog", 10, 3, 20, 24)]

    def test_boxes_without_area_or_outside_are_left_out(self, data_yaml, log):
        label_file = data_yaml.parent / "labels" / "train" / "a.txt"
        label_file.write_text("0 .5 .5 .25 .2\n0 .5 .5 0 .2\n0 1.3 .5 .2 .2\n1 0 .5 .5 .2\n")
        content = convert_yolo(data_yaml).splits["train"]
        # The last one reaches 10 pixels out on the left.
        expected = [("dog", 15, 12, 10, 6), ("cat", -10, 12, 20, 6)]
        assert boxes(content)["train/a.jpg"] == expected
        empty, outside, kept = log.messages[1:]
        assert "without area, left out: 1" in empty and empty.endswith("line 2")
        assert "outside of their image, left out: 1" in outside and outside.endswith("line 3")
        assert "kept: 1" in kept and kept.endswith("line 4, by 10 pixels")

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
            ("0 .5 .5 .1 .1 .9", "line 1: 6 columns, .* 0?.9, looks like a score .*--drop-scores"),
            ("0 .5 .5 .1 .1 .9 .9 .9", "line 1: .* 7 numbers"),
            ("0 .5 .5 -.1 .1", "line 1: width and height should not be negative"),
            ("0 .5 .5 .1 1_0", "line 1: .*'1_0'"),
            ("0 .5 .5 .1 1e999", "line 1: .*smaller number"),
            ("0 0,5 .5 .1 .1", "line 1: .*decimal point, is '0,5'"),
            ("0", "line 1: .* 0 numbers"),
            ("dog .5 .5 .1 .1", "line 1: .*'dog'"),
            ("2 .5 .5 .1 .1", "line 1: class 2 is not among the 2"),
            ("-1 .5 .5 .1 .1", "line 1: class -1"),
            ("0.5 .5 .5 .1 .1", "line 1: class 0.5"),
            ("0 20 15 10 6", "line 1: .*relative to the image's size"),
            ("0 nan .5 .1 .1", "line 1: .*number, is 'nan'"),
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
            ({"path": ["a"]}, ValueError, "'path' should be a folder"),
            ({"train": {"a": "b"}}, ValueError, "'train' should be a folder"),
            ({"path": "images", "train": {"a": "b"}}, ValueError, "'train' should be a folder"),
            ({"kpt_shape": [17]}, ValueError, "'kpt_shape' should be such as"),
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
        with pytest.raises(ValueError, match=r"a\.jpg cannot be read: it is no image"):
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
        message, empty = log.messages
        assert "data.yaml: 'test' is left out: " in message and "test/images" in message
        assert "images without label file" in empty and ": 1, " in empty and "b.jpg" in empty

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
