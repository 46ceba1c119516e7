"""Files in Pascal VOC's form become COCO's boxes, worked out by hand."""

import pytest
from label_files import boxes, save_image, write, xml

from tood_d2.data.conversion import convert_voc


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

    def test_pixels_may_count_from_zero_and_exclude_the_last(self, root, log):
        content = convert_voc(root, one_based=False).splits["all"]
        # The box of one pixel, the second, is empty when its last pixel does not count.
        assert boxes(content)["a.jpg"] == [("dog", 1, 1, 9, 4), ("cat", 1.5, 2, 1.75, 2)]
        (message,) = log.messages
        assert message.startswith("boxes without area, left out: 1, ")
        assert message.endswith("a.xml, object 2")

    def test_a_box_at_pixel_0_is_doubted(self, root, log):
        write(root / "Annotations" / "a.xml", xml(("dog", 0, 1, 10, 5)))
        assert boxes(convert_voc(root).splits["all"])["a.jpg"] == [("dog", -1, 0, 11, 5)]
        assert "--zero-based" in log.messages[0]
        convert_voc(root, one_based=False)
        assert len(log.messages) == 1

    def test_corners_may_be_in_any_order(self, root, log):
        write(root / "Annotations" / "a.xml", xml(("dog", 10, 5, 1, 1)))
        assert boxes(convert_voc(root).splits["all"])["a.jpg"] == [("dog", 0, 0, 10, 5)]
        assert "corners" in log.messages[0] and "a.xml, object 1" in log.messages[0]

    def test_boxes_that_reach_out_are_kept_and_those_outside_are_not(self, root, log):
        # By 1 pixel, which is rounding; by 2 pixels; and beyond the image of 40 x 30 pixels.
        objects = [("dog", 1, 1, 41, 5), ("dog", 1, 1, 42, 5), ("dog", 41, 1, 50, 5)]
        write(root / "Annotations" / "a.xml", xml(*objects))
        found = boxes(convert_voc(root).splits["all"])["a.jpg"]
        assert found == [("dog", 0, 0, 41, 5), ("dog", 0, 0, 42, 5)]
        kept, dropped = log.messages
        assert "kept: 1, " in kept and "object 2, by 2 pixels" in kept
        assert "left out: 1, " in dropped and dropped.endswith("object 3")

    def test_difficult_objects_are_left_out_on_request(self, root):
        path = root / "Annotations" / "a.xml"
        hard = "<object><difficult>1</difficult>"
        path.write_text(path.read_text().replace("<object>", hard, 1))
        assert len(convert_voc(root).splits["all"]["annotations"]) == 3
        content = convert_voc(root, keep_difficult=False).splits["all"]
        assert [x[0] for x in boxes(content)["a.jpg"]] == ["cat", "cat"]
        path.write_text(path.read_text().replace("<difficult>1<", "<difficult>maybe<"))
        assert len(convert_voc(root).splits["all"]["annotations"]) == 3
        with pytest.raises(ValueError, match=r"a\.xml, object 1: <difficult> .* 'maybe'"):
            convert_voc(root, keep_difficult=False)

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

    @pytest.mark.parametrize(
        ("size", "messages"),
        [
            (None, []),
            ((33, 44), ["says 33 x 44, a.jpg has 44 x 33 pixels once turned as its EXIF data say"]),
            ((0, 0), ["says 0 x 0, a.jpg has 44 x 33 pixels"]),
            ((44, 34), ["says 44 x 34, a.jpg has 44 x 33 pixels"]),
        ],
    )
    def test_the_size_is_that_of_the_turned_image(self, root, size, messages, log):
        save_image(root / "JPEGImages" / "a.jpg", (33, 44), orientation=6)
        write(root / "Annotations" / "a.xml", xml(("dog", 1, 1, 10, 5), size=size))
        content = convert_voc(root).splits["all"]
        assert (content["images"][0]["width"], content["images"][0]["height"]) == (44, 33)
        assert boxes(content) == {"a.jpg": [("dog", 0, 0, 10, 5)]}
        assert len(log.messages) == len(messages)
        for logged, message in zip(log.messages, messages, strict=True):
            assert "contradict" in logged and logged.endswith(message)

    def test_boxes_of_an_image_of_another_size_are_refused(self, root):
        # They fit 30 x 40 pixels, the image has 40 x 30.
        write(root / "Annotations" / "a.xml", xml(("dog", 1, 1, 10, 38), size=(30, 40)))
        with pytest.raises(ValueError, match=r"says 30 x 40, .* 40 x 30 pixels: swapped .* out of"):
            convert_voc(root)

    def test_the_name_of_the_xml_file_counts(self, root):
        """As after renaming files: the name of the XML file counts."""
        save_image(root / "JPEGImages" / "b.jpg")
        write(root / "Annotations" / "a.xml", xml(("dog", 1, 1, 10, 5), filename="b.jpg"))
        expected = {"a.jpg": [("dog", 0, 0, 10, 5)], "b.jpg": []}
        assert boxes(convert_voc(root).splits["all"]) == expected

    def test_of_images_that_differ_in_their_suffix_the_named_one_counts(self, root, log):
        save_image(root / "JPEGImages" / "a.png")
        assert list(boxes(convert_voc(root).splits["all"])) == ["a.jpg"]
        assert "left out: 1, " in log.messages[0] and log.messages[0].endswith("a.png")
        write(root / "Annotations" / "a.xml", xml(("dog", 1, 1, 2, 2), filename="a"))
        with pytest.raises(ValueError, match=r"a\.xml has several images"):
            convert_voc(root)

    @pytest.mark.parametrize("name", ["", "C:\\\\x\\\\b.png", "/home/x/a.png", "a.tif"])
    def test_the_image_needs_no_right_filename(self, root, name):
        write(root / "Annotations" / "a.xml", xml(("dog", 1, 1, 10, 5), filename=name))
        assert boxes(convert_voc(root).splits["all"]) == {"a.jpg": [("dog", 0, 0, 10, 5)]}
        text = xml(("dog", 1, 1, 10, 5)).replace("<filename>a.jpg</filename>", "")
        write(root / "Annotations" / "a.xml", text)
        assert boxes(convert_voc(root).splits["all"]) == {"a.jpg": [("dog", 0, 0, 10, 5)]}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<annotation>", r"a\.xml cannot be read as XML: no element"),
            ("", r"a\.xml cannot be read as XML"),
            (xml(("", 1, 1, 2, 2)), r"a\.xml, object 1 has no <name>"),
            (xml(("dog", 1, 1, 2, 2), ("cat", 1, 1, "x", 2)), "object 2: <bndbox/xmax>.*'x'"),
            (xml(("dog", 1, "nan", 2, 2)), "object 1: <bndbox/ymin>"),
            (xml(("dog", "1,5", 1, 2, 2)), "object 1: <bndbox/xmin> .* decimal point, is '1,5'"),
            (xml(("dog", "1_0", 1, 2, 2)), "object 1: <bndbox/xmin> .*'1_0'"),
            (xml(("dog", "1e999", 1, 2, 2)), "object 1: <bndbox/xmin> .*smaller number"),
            (
                xml(("dog", 1, 1, 2, 2)).replace("bndbox", "box"),
                "object 1 has no <bndbox>",
            ),
            (
                xml(("dog", 1, 1, 2, 2)).replace("<xmin>", "<xmin>7</xmin><xmin>"),
                "object 1 has <bndbox/xmin> 2 times",
            ),
            (
                xml(("dog", 1, 1, 2, 2)).replace("annotation>", "annotations>"),
                r"a\.xml begins with <annotations>",
            ),
            (
                xml(("dog", 1, 1, 2, 2))
                .replace("<object>", "<objects><object>")
                .replace("</object>", "</object></objects>"),
                "<object> inside of another element",
            ),
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

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "gbk", "cp1251"])
    def test_any_encoding_that_python_knows(self, root, encoding):
        name = "\u0434\u043e\u043c"  # which all of them have
        text = f'<?xml version="1.0" encoding="{encoding}"?>' + xml((name, 1, 1, 10, 5))
        (root / "Annotations" / "a.xml").write_bytes(text.encode(encoding))
        assert boxes(convert_voc(root).splits["all"]) == {"a.jpg": [(name, 0, 0, 10, 5)]}

    @pytest.mark.parametrize(
        ("declared", "message"),
        [
            ("klingon", r"a\.xml .*encoding 'klingon' is unknown"),
            ("zip", r"a\.xml .*encoding 'zip' is unknown"),
            ("gbk", r"a\.xml .*not text in gbk"),
            ("utf-8", r"a\.xml .*not text in utf-8"),
        ],
    )
    def test_an_encoding_that_does_not_fit_is_named(self, root, declared, message):
        text = f'<?xml version="1.0" encoding="{declared}"?>' + xml(("dog", 1, 1, 10, 5))
        (root / "Annotations" / "a.xml").write_bytes(text.encode() + b"\xff")
        with pytest.raises(ValueError, match=message):
            convert_voc(root)

    def test_missing_files_are_named(self, root, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            convert_voc(tmp_path / "nowhere")
        write(root / "ImageSets" / "Main" / "train.txt", "a\nb\n")
        with pytest.raises(FileNotFoundError, match=r"train\.txt, line 2: 'b' has no image"):
            convert_voc(root)

    def test_files_without_partner_are_counted(self, root, log):
        write(root / "Annotations" / "b.xml", xml(("cat", 1, 1, 2, 2)))
        save_image(root / "JPEGImages" / "c.jpg")
        save_image(root / "JPEGImages" / "d.jpg")
        found = boxes(convert_voc(root).splits["all"])
        assert {k: len(v) for k, v in found.items()} == {"a.jpg": 3, "c.jpg": 0, "d.jpg": 0}
        alone, empty = log.messages
        assert "XML files without image" in alone and alone.endswith("b.xml")
        assert "images without XML file" in empty and f": 2, the first is {root}" in empty

    def test_a_folder_without_boxes_is_refused(self, tmp_path):
        for name in ("Annotations", "JPEGImages"):
            (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match="has 0 images and 0 XML files"):
            convert_voc(tmp_path)
        save_image(tmp_path / "JPEGImages" / "a.jpg")
        with pytest.raises(ValueError, match="has 1 images and 0 XML files"):
            convert_voc(tmp_path)
        write(tmp_path / "Annotations" / "a.xml", xml())
        with pytest.raises(ValueError, match="there is no box in 1 images"):
            convert_voc(tmp_path)
