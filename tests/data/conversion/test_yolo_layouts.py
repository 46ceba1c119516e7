"""Folders and lists in which tools leave images and YOLO's labels."""

import os

import pytest
from label_files import boxes, save_image, write

from tood_d2.data.conversion import convert_yolo

LABEL = "0 .5 .5 .25 .2\n"


def make(root, image="a.jpg", label="a.txt", **files):
    """An image, its label and other text files."""
    save_image(root / image)
    write(root / label, LABEL)
    for name, text in files.items():
        write(root / name.replace("_", "."), text)


def counts(source):
    """Boxes of each image of each split."""
    splits = convert_yolo(source).splits
    return {k: {n: len(v) for n, v in boxes(x).items()} for k, x in splits.items()}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("images/a.jpg", "images/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/train/a.jpg", "images/train/a.txt"),
        ("images/train/s/a.JPG", "labels/train/s/a.TXT"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("train/Images/a.jpg", "train/Labels/a.txt"),
        ("train/img/a.jpg", "train/labels/a.txt"),
        ("train/a.jpg", "train/labels/a.txt"),
        ("train/a.jpg", "train/a.txt"),
        ("a.jpg", "a.txt"),
        ("a.jp2", "labels/a.txt"),
        ("images/images/train/a.jpg", "images/labels/train/a.txt"),
        ("images/x/images/a.jpg", "labels/x/images/a.txt"),
    ],
)
def test_labels_are_found_in_sister_folders_or_beside(tmp_path, image, label):
    make(tmp_path, image, label, classes_txt="dog\n")
    split = "train" if "train" in image else "all"
    expected = {os.path.basename(image): 1}
    if "/s/" in image:
        expected = {"a.JPG": 1}
    assert counts(tmp_path) == {split: expected}
    folder = os.path.dirname(image) or "."
    write(tmp_path / "data.yaml", f"train: {folder}\nnames: [dog]\n")
    assert counts(tmp_path) == counts(tmp_path / "data.yaml") == {"train": expected}


def test_without_any_label_the_places_are_named(tmp_path):
    make(tmp_path, "images/a.jpg", "annotations/a.txt", data_yaml="train: images\nnames: [dog]")
    (tmp_path / "labels").mkdir()
    message = rf"1 images have no label file, looked in .*{tmp_path}/labels"
    with pytest.raises(ValueError, match=message):
        convert_yolo(tmp_path)


def test_empty_label_files_alone_are_refused(tmp_path):
    make(tmp_path, classes_txt="dog\n")
    write(tmp_path / "a.txt", "")
    with pytest.raises(ValueError, match="there is no box in 1 images"):
        convert_yolo(tmp_path)


def test_what_is_left_out_is_counted(tmp_path, log):
    make(tmp_path, "train/a.jpg", "train/a.txt", classes_txt="dog\n")
    save_image(tmp_path / "train" / "b.jpg")
    save_image(tmp_path / "stray" / "d.jpg")
    save_image(tmp_path / "train" / "a.png")
    write(tmp_path / "train" / "c.txt", LABEL)
    assert counts(tmp_path) == {"train": {"a.jpg": 1, "a.png": 1, "b.jpg": 0}}
    text = "\n".join(log.messages)
    for message, name in (
        ("images in no folder of a split, left out: 1", "d.jpg"),
        ("images without label file, taken for images without objects: 1", "b.jpg"),
        ("images that share their label file with another image: 2", "a.jpg"),
        ("text files that belong to no image of a split, left out: 1", "c.txt"),
    ):
        assert any(x.startswith(message) and x.endswith(name) for x in log.messages), text
    assert len(log.messages) == 4


def test_masks_beside_a_folder_of_images_are_no_images(tmp_path, log):
    make(tmp_path, "images/a.jpg", "labels/a.txt", classes_txt="dog\n")
    save_image(tmp_path / "masks" / "a.png")
    assert counts(tmp_path) == {"all": {"a.jpg": 1}}
    assert "outside of images, left out: 1" in log.messages[0]


def test_labelled_images_that_data_yaml_leaves_out_are_counted(tmp_path, log):
    make(tmp_path, "train/a.jpg", "train/a.txt", data_yaml="train: train\nnames: [dog]")
    make(tmp_path, "test/b.jpg", "test/b.txt")
    assert counts(tmp_path) == {"train": {"a.jpg": 1}}
    (message,) = log.messages
    assert message.startswith("labelled images in no split, left out: 1,")


def test_hidden_files_are_no_data(tmp_path, log):
    make(tmp_path, "train/a.jpg", "train/a.txt", data_yaml="train: train\nnames: [dog]")
    for name in ("._a.jpg", "._a.txt", ".DS_Store", ".ipynb_checkpoints/b.jpg", "Thumbs.db"):
        write(tmp_path / "train" / name, "\0\5\x16\7")
    write(tmp_path / "._data.yaml", "names: \0")
    assert counts(tmp_path) == {"train": {"a.jpg": 1}}
    assert log.messages == []


def test_pipes_are_not_opened(tmp_path):
    make(tmp_path, "train/a.jpg", "train/a.txt", classes_txt="dog\n")
    for name in ("train/b.jpg", "train/b.txt", "data.yaml", "train.txt"):
        os.mkfifo(tmp_path / name)
    assert counts(tmp_path) == {"train": {"a.jpg": 1}}
    with pytest.raises(FileNotFoundError, match=r"data\.yaml: no such file"):
        convert_yolo(tmp_path / "data.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_and_windows_line_ends(tmp_path, encoding):
    make(tmp_path, data_yaml="train: list.txt\r\nnames: [dog]\r\n", list_txt="\r\na.jpg\r\n")
    for name in ("a.txt", "data.yaml", "list.txt"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert counts(tmp_path) == {"train": {"a.jpg": 1}}


class TestDataYaml:
    @pytest.mark.parametrize(
        ("path", "train"),
        [
            ("", "train\\\\images"),
            ("", "../train/images"),
            ("", "/content/datasets/x/train/images"),
            ("", "C:\\\\Users\\\\x\\\\train\\\\images"),
            ("/content/x", "train/images"),
            ("C:\\\\x\\\\y", "train/images"),
            ("../datasets/x", "train/images"),
        ],
    )
    def test_paths_of_other_machines(self, tmp_path, path, train, log):
        text = f'path: "{path}"\ntrain: "{train}"\nnames: [dog]'
        make(tmp_path / "d", "train/images/a.jpg", "train/labels/a.txt", data_yaml=text)
        assert counts(tmp_path / "d") == {"train": {"a.jpg": 1}}
        is_guess = bool(path) or train[0] in "/C"
        assert len(log.messages) == is_guess
        assert not is_guess or "which is not there" in log.messages[0]

    def test_a_path_may_be_too_long(self, tmp_path, log):
        text = f"train: train\nval: {'x' * 5000}\nnames: [dog]"
        make(tmp_path, "train/a.jpg", "train/a.txt", data_yaml=text)
        assert counts(tmp_path) == {"train": {"a.jpg": 1}}
        assert "'val' is left out" in log.messages[0]

    def test_a_split_is_not_taken_for_another(self, tmp_path, log):
        text = "train: images\nval: /content/x/valid/images\nnames: [dog]"
        make(tmp_path, "images/a.jpg", "labels/a.txt", data_yaml=text)
        assert counts(tmp_path) == {"train": {"a.jpg": 1}}
        assert "'val' is left out: /content/x/valid/images" in log.messages[0]

    def test_a_folder_in_the_given_one_may_have_it(self, tmp_path):
        make(tmp_path / "z", "train/a.jpg", "train/a.txt", data_yaml="train: train\nnames: [dog]")
        assert counts(tmp_path) == {"train": {"a.jpg": 1}}
        write(tmp_path / "y" / "data.yaml", "names: [cat]")
        with pytest.raises(ValueError, match=r"has y/data\.yaml, z/data\.yaml: name one"):
            convert_yolo(tmp_path)

    def test_the_file_may_have_any_name_but_not_two(self, tmp_path):
        make(tmp_path, "train/a.jpg", "train/a.txt", coco8_yaml="train: train\nnames: [dog]")
        write(tmp_path / "other.yml", "lr: 1")
        assert counts(tmp_path) == {"train": {"a.jpg": 1}}
        write(tmp_path / "other.yml", "names: [cat]")
        with pytest.raises(ValueError, match=r"has coco8\.yaml, other\.yml: name one of them"):
            convert_yolo(tmp_path)

    def test_a_key_counts_once(self, tmp_path):
        text = "train: train\nnames:\n  0: dog\n  0: cat\n"
        make(tmp_path, "train/a.jpg", "train/a.txt", data_yaml=text)
        with pytest.raises(ValueError, match=r"data\.yaml is not YAML: a key is there twice"):
            convert_yolo(tmp_path)

    def test_valid_is_a_split(self, tmp_path):
        text = "train: train\nvalid: train\nnames: [dog]"
        make(tmp_path, "train/a.jpg", "train/a.txt", data_yaml=text)
        assert counts(tmp_path) == {"train": {"a.jpg": 1}, "valid": {"a.jpg": 1}}


class TestClassFiles:
    def test_each_split_may_have_its_own(self, tmp_path):
        for split in ("train", "test"):
            make(tmp_path / split, classes_txt="dog\ncat\n")
        assert counts(tmp_path) == {"test": {"test/a.jpg": 1}, "train": {"train/a.jpg": 1}}
        write(tmp_path / "test" / "classes.txt", "cat\ndog\n")
        with pytest.raises(ValueError, match=r"test/classes\.txt .*train/classes\.txt have diff"):
            convert_yolo(tmp_path)

    @pytest.mark.parametrize("name", ["classes.txt", "obj.names", "_darknet.labels"])
    def test_lines_are_the_classes_in_their_order(self, tmp_path, name):
        make(tmp_path, "train/a.jpg", "train/a.txt")
        write(tmp_path / "train" / name, "no\r\nred cell\r\n\r\n")
        categories = convert_yolo(tmp_path).splits["train"]["categories"]
        assert categories == [{"id": 1, "name": "no"}, {"id": 2, "name": "red cell"}]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("dog\n\ncat", r"classes\.txt, line 2: a class has no name"),
            ("dog\ndog", r"classes\.txt has a name twice: dog, dog"),
            ("\n", r"classes\.txt has no class"),
        ],
    )
    def test_malformed_ones_are_named(self, tmp_path, text, message):
        make(tmp_path, classes_txt=text)
        with pytest.raises(ValueError, match=message):
            convert_yolo(tmp_path)

    def test_a_folder_without_one_is_refused(self, tmp_path):
        make(tmp_path)
        with pytest.raises(ValueError, match=r"no data\.yaml, no obj\.data, and no classes\.txt"):
            convert_yolo(tmp_path)


class TestDarknet:
    @pytest.fixture
    def root(self, tmp_path):
        """As CVAT exports it, where paths begin with a folder that is not there."""
        make(tmp_path, "obj_train_data/s/a.jpg", "obj_train_data/s/a.txt", obj_names="dog\ncat\n")
        write(tmp_path / "train.txt", "data/obj_train_data/s/a.jpg\n")
        self.write(tmp_path)
        return tmp_path

    @staticmethod
    def write(root, classes=2, names="data/obj.names"):
        text = f"classes = {classes}\ntrain = data/train.txt\nnames = {names}\nbackup = backup/\n"
        write(root / "obj.data", text)

    def test_obj_data_names_lists_and_classes(self, root, log):
        assert counts(root) == counts(root / "obj.data") == {"train": {"a.jpg": 1}}
        assert log.messages == []
        assert len(convert_yolo(root).splits["train"]["categories"]) == 2

    def test_lists_of_other_machines(self, root, log):
        write(root / "train.txt", "/home/x/darknet/obj_train_data/s/a.jpg\n")
        assert counts(root) == {"train": {"a.jpg": 1}}
        (message,) = log.messages
        assert "names other folders: 1" in message and message.endswith("train.txt, line 1")

    def test_malformed_files_are_named(self, root):
        self.write(root, classes=3)
        with pytest.raises(ValueError, match=r"obj\.data: 'nc' should be 2"):
            convert_yolo(root)
        self.write(root, names="nowhere.names")
        with pytest.raises(FileNotFoundError, match=r"obj\.data: 'names' should be a file"):
            convert_yolo(root)
        write(root / "obj.data", "names = obj.names\ntrain\n")
        with pytest.raises(ValueError, match=r"obj\.data, line 2 should be such as"):
            convert_yolo(root)
        self.write(root)
        write(root / "train.txt", "data/obj_train_data/s/b.jpg\n")
        with pytest.raises(FileNotFoundError, match=r"train\.txt, line 1: .*b\.jpg: no such image"):
            convert_yolo(root)

    def test_lists_beside_the_class_file_are_splits(self, root):
        (root / "obj.data").unlink()
        assert counts(root) == {"train": {"a.jpg": 1}}
