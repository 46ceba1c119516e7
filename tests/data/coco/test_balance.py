"""What is uneven in data is told: crowds, classes, objects per image and odd sizes."""

from tood_d2.data.coco.balance import check_balance, check_classes


def content(*counts, crowd=(), boxes=None):
    """Classes a, b, ... with so many boxes of 10 x 10 pixels, each in an image of its own."""
    classes = [row for row, count in enumerate(counts) for _ in range(count)]
    boxes = boxes or [[1, 1, 10, 10]] * len(classes)
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 100, "height": 100}
            for i in range(len(classes) or 1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": row, "bbox": box, "iscrowd": int(i in crowd)}
            for i, (row, box) in enumerate(zip(classes, boxes, strict=True))
        ],
        "categories": [{"id": i, "name": "abcdefgh"[i]} for i in range(len(counts))],
    }


def kinds(problems):
    assert not any(x.fatal for x in problems)
    return [(x.kind, x.where.removeprefix("x.json")) for x in problems]


def test_even_data_have_nothing_to_tell():
    assert check_balance(content(20, 30), "x.json") == []


def test_crowds_are_counted():
    (problem,) = check_balance(content(21, crowd={3}), "x.json")
    assert problem.kind == "crowds"
    assert problem.message.startswith("1 of 21 annotations are crowds (iscrowd 1)")


def test_rare_and_empty_classes_are_named():
    problems = check_balance(content(2001, 19, 20, 0, 21), "x.json")
    assert kinds(problems) == [
        ("rare-class", ": category 1 (b)"),
        ("imbalance", ": category 2 (c)"),  # 100.05 times
        ("class-without-boxes", ": category 3 (d)"),
    ]
    assert "20 boxes, 100 times fewer" in problems[1].message


def test_a_class_of_crowds_is_empty():
    problems = check_balance(content(20, 1, crowd={20}), "x.json")
    assert kinds(problems) == [("crowds", ""), ("class-without-boxes", ": category 1 (b)")]


def test_images_of_more_objects_than_can_be_found_are_named():
    data = content(101)
    for annotation in data["annotations"]:
        annotation["image_id"] = 7
    (problem,) = check_balance(data, "x.json")
    assert (problem.kind, problem.where) == ("many-objects", "x.json: image 7 (7.png)")
    assert "101 objects" in problem.message and "max_detections_per_image" in problem.message
    data["annotations"].pop()
    assert check_balance(data, "x.json") == []


def test_boxes_of_odd_sizes_are_named():
    # The least difference that counts is a factor of 1.25^6 = 3.8.
    boxes = [[1, 1, 10, 10]] * 18 + [[1, 1, 80, 20], [1, 1, 30, 45], [1, 1, 2, 2]]
    problems = check_balance(content(21, boxes=boxes), "x.json")
    assert kinds(problems) == [("odd-size", f": annotation {i}") for i in (18, 20)]
    assert problems[0].message == "box is 4 times larger than usual for 'a'"
    assert problems[1].message == "box is 5 times smaller than usual for 'a'"


def test_a_class_in_one_split_only_is_named():
    problems = check_classes(content(3, 0, 0), content(2, 1, 0), "x.json", "y.json")
    (problem,) = problems
    assert problem.kind == "class-in-one-split" and not problem.fatal
    assert problem.message == "class 'b' has boxes in y.json, but none in x.json"
