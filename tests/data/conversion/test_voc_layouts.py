"""Folders in which labelling tools leave images and VOC's XML files."""

import os

import pytest
from label_files import boxes, save_image, write, xml

from tood_d2.data.conversion import convert_voc

DOG = ("dog", 1, 1, 10, 5)


def make(root, *names, xml_names=None):
    """Images and XML files by their paths, without suffix for XML files of the images' names."""
    for name in names:
        save_image(root / name)
    for name in xml_names or [name.rpartition(".")[0] + ".xml" for name in names]:
        write(root / name, xml(DOG, filename=name.rpartition("/")[2]))


def counts(root):
    """Boxes of each image of each split."""
    splits = convert_voc(root).splits
    return {k: {n: len(v) for n, v in boxes(x).items()} for k, x in splits.items()}


def test_images_and_xml_files_side_by_side(tmp_path):
    make(tmp_path, "a.jpg", "b.png")
    assert counts(tmp_path) == {"all": {"a.jpg": 1, "b.png": 1}}


def test_folders_of_splits_keep_their_names(tmp_path):
    make(tmp_path, "train/a.jpg", "valid/a.jpg", "test/b.jpg")
    assert counts(tmp_path) == {
        "test": {"test/b.jpg": 1},
        "train": {"train/a.jpg": 1},
        "valid": {"valid/a.jpg": 1},
    }


@pytest.mark.parametrize(
    ("image", "xml_file", "split"),
    [
        ("JPEGImages/s/a.jpg", "Annotations/s/a.xml", "all"),
        ("JPEGImages/s/a.jpg", "Annotations/a.xml", "all"),
        ("JPEGImages/a.JPG", "Annotations/a.XML", "all"),
        ("images/a.jpg", "annotations/xmls/a.xml", "all"),
        ("images/a.jpg", "images/labels/a.xml", "all"),
        ("a.jpg", "xml/a.xml", "all"),
        ("VOC2007/JPEGImages/a.jpg", "VOC2007/Annotations/a.xml", "all"),
        ("train/JPEGImages/a.jpg", "train/Annotations/a.xml", "train"),
        ("images/train2017/a.jpg", "annotations/train2017/a.xml", "train2017"),
        ("JPEGImages/a.jpg", "Annotations/train/a.xml", "train"),
        ("JPEGImages/a.webp", "Annotations/a.xml", "all"),
        ("JPEGImages/a.tga", "Annotations/a.xml", "all"),
    ],
)
def test_images_and_xml_files_in_folders_of_their_own(tmp_path, image, xml_file, split):
    make(tmp_path, image, xml_names=[xml_file])
    (found,) = counts(tmp_path).items()
    assert found == (split, {image.rpartition("/")[2]: 1})


def test_equal_names_in_sub_folders_stay_apart(tmp_path):
    make(tmp_path, "JPEGImages/s/a.jpg", "JPEGImages/t/a.jpg", xml_names=["Annotations/t/a.xml"])
    assert counts(tmp_path) == {"all": {"s/a.jpg": 0, "t/a.jpg": 1}}


def test_images_of_another_split_are_not_taken(tmp_path):
    make(tmp_path, "train/a.jpg", xml_names=["train/a.xml", "test/b.xml"])
    save_image(tmp_path / "val" / "b.jpg")
    assert counts(tmp_path) == {"train": {"train/a.jpg": 1}, "val": {"val/b.jpg": 0}}


def test_equal_names_of_other_splits_are_no_copies(tmp_path):
    make(tmp_path, "train/a.jpg")
    save_image(tmp_path / "test" / "a.png")
    assert counts(tmp_path) == {"test": {"test/a.png": 0}, "train": {"train/a.jpg": 1}}


def test_masks_of_voc_are_no_images(tmp_path, log):
    make(tmp_path, "JPEGImages/a.jpg", xml_names=["Annotations/a.xml"])
    save_image(tmp_path / "SegmentationClass" / "a.png")
    assert counts(tmp_path) == {"all": {"a.jpg": 1}}
    assert "outside of JPEGImages, left out: 1" in log.messages[0]


@pytest.mark.parametrize(
    "line",
    [
        *("s/a", "s/a.jpg", "s\\a.jpg", "./s/a", "JPEGImages/s/a.jpg", "s/a.xml"),
        *("/home/x/voc/JPEGImages/s/a.jpg", "C:\\voc\\JPEGImages\\s\\a.jpg", "D:/x/a.jpg"),
        "JPEGImages/s/a.jpg Annotations/s/a.xml",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_may_name_images_in_many_ways(tmp_path, line, encoding):
    make(tmp_path, "JPEGImages/s/a.jpg", xml_names=["Annotations/s/a.xml"])
    save_image(tmp_path / "JPEGImages" / "s" / "b.jpg")
    path = tmp_path / "ImageSets" / "Main" / "default.txt"
    write(path, "")
    path.write_bytes(f"{line}\r\n\r\n".encode(encoding))
    assert counts(tmp_path) == {"default": {"a.jpg": 1}}


def test_images_in_no_list_are_counted(tmp_path, log):
    make(tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.jpg")
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\n")
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "\n")
    assert counts(tmp_path) == {"train": {"a.jpg": 1}}
    assert "lists without images, left out: 1" in log.messages[0]
    assert "images in no list, left out: 1" in log.messages[1] and "b.jpg" in log.messages[1]


def test_masks_beside_any_folders_are_no_images(tmp_path, log):
    make(tmp_path, "images/a.jpg", xml_names=["annotations/xmls/a.xml"])
    write(tmp_path / "annotations" / "xmls" / "a.xml", xml(DOG, filename="a.jpg"))
    save_image(tmp_path / "annotations" / "trimaps" / "a.png")
    assert counts(tmp_path) == {"all": {"a.jpg": 1}}
    assert "in another file, left out: 1" in log.messages[0] and "a.png" in log.messages[0]


def test_an_image_may_be_called_like_a_line_of_a_class_s_list(tmp_path):
    make(tmp_path, "JPEGImages/dog 1.jpg", xml_names=["Annotations/dog 1.xml"])
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "dog 1\n")
    assert counts(tmp_path) == {"train": {"dog 1.jpg": 1}}


def test_a_list_that_could_mean_two_images_is_refused(tmp_path):
    make(tmp_path, "JPEGImages/s/a.jpg", "JPEGImages/t/a.jpg")
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "s/a\na\n")
    with pytest.raises(FileNotFoundError, match=r"train\.txt, line 2: 'a' has several images"):
        convert_voc(tmp_path)
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "u/a\n")
    with pytest.raises(FileNotFoundError, match=r"line 1: 'u/a' has no image"):
        convert_voc(tmp_path)


def test_lists_of_several_years_are_joined(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        make(tmp_path / year, "JPEGImages/a.jpg", xml_names=["Annotations/a.xml"])
        write(tmp_path / year / "ImageSets" / "Main" / "train.txt", "a")
    names = ("VOC2007/JPEGImages/a.jpg", "VOC2012/JPEGImages/a.jpg")
    assert counts(tmp_path) == {"train": dict.fromkeys(names, 1)}


def test_hidden_files_are_no_data(tmp_path):
    make(tmp_path, "JPEGImages/a.jpg", xml_names=["Annotations/a.xml"])
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a")
    hidden = ("Annotations/._a.xml", "JPEGImages/._a.jpg", "ImageSets/Main/._train.txt")
    for name in (*hidden, ".ipynb_checkpoints/a.xml", "__MACOSX/a.jpg", "JPEGImages/Thumbs.db"):
        write(tmp_path / name, "\0\5\x16\7")
    assert counts(tmp_path) == {"train": {"a.jpg": 1}}


def test_links_are_followed_and_pipes_are_not_opened(tmp_path):
    make(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "voc").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "voc" / "train")
    os.symlink(tmp_path / "voc", tmp_path / "elsewhere" / "up")
    for name in ("b.jpg", "b.xml", "train.txt"):
        os.mkfifo(tmp_path / "voc" / name)
    assert counts(tmp_path / "voc") == {"train": {"a.jpg": 1}}


def test_two_xml_files_of_an_image_are_refused(tmp_path):
    make(tmp_path, "a.jpg", xml_names=["a.xml", "a.XML"])
    with pytest.raises(ValueError, match=r"a\.jpg has two XML files, .*a\.XML and .*a\.xml"):
        convert_voc(tmp_path)
