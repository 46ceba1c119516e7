"""AP with pictures, on two images with three classes.

Image 1 has a circle, a square and a triangle; image 2 a circle and a crowd of squares.
"""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from tood_d2.evaluation import coco_evaluator
from tood_d2.evaluation import figures as evaluation_figures
from tood_d2.evaluation.coco_evaluator import (
    IllustratedCOCOEvaluator,
    confusion_matrix,
    match_detections,
)

NAMES = {7: "triangle", 1: "circle", 5: "square"}  # ids are neither sorted nor without gaps
CIRCLE, SQUARE, TRIANGLE, NONE = range(4)
PICTURES = ["pr_curves.png", "confusion_matrix.png"]

# (image, category id, box XYWH, is a crowd)
OBJECTS = [
    (1, 1, [0, 0, 10, 10], 0),
    (1, 5, [20, 0, 10, 10], 0),
    (1, 7, [40, 0, 10, 10], 0),
    (2, 1, [0, 0, 10, 10], 0),
    (2, 5, [50, 50, 40, 40], 1),
]
# By image, (class, score, box XYXY).
DETECTIONS = {
    1: [
        (CIRCLE, 0.9, [0, 0, 10, 10]),
        (CIRCLE, 0.8, [20, 0, 30, 9]),  # the square
    ],
    2: [
        (CIRCLE, 0.95, [70, 0, 80, 10]),  # background
        (CIRCLE, 0.2, [0, 0, 10, 10]),
        (SQUARE, 0.7, [50, 50, 60, 60]),  # in the crowd: neither right nor wrong
        (SQUARE, 0.6, [60, 60, 70, 70]),
        (TRIANGLE, 0.5, [50, 50, 60, 60]),  # the crowd is none of triangles
    ],
}
MATRIX = [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 0]]


def write_json(path, objects, names=NAMES, num_images=2):
    images = [
        dict(id=i, width=100, height=100, file_name=f"{i}.jpg") for i in range(1, num_images + 1)
    ]
    keys = ("image_id", "category_id", "bbox", "iscrowd")
    annotations = [
        dict(zip(keys, row, strict=True), id=i, area=row[2][2] * row[2][3])
        for i, row in enumerate(objects, start=1)
    ]
    categories = [{"id": id_, "name": name} for id_, name in names.items()]
    data = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def build(tmp_path):
    """Builds an evaluator of objects; its pictures go to ``tmp_path``."""
    name = "illustrated_test"

    def _build(objects=OBJECTS, output_dir=tmp_path, cls=IllustratedCOCOEvaluator, **kwargs):
        json_file = write_json(tmp_path / "gt.json", objects)
        register_coco_instances(name, {}, str(json_file), "")
        DatasetCatalog.get(name)  # fills in the names
        output_dir = output_dir and str(output_dir)
        return cls(name, tasks=["bbox"], output_dir=output_dir, **kwargs)

    yield _build
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of the functions that draw, by their names; the figures remain empty."""
    arguments = {}

    def draw(name, *args):
        arguments[name] = args
        return Figure(figsize=(1, 1))

    for name in ("draw_pr_curves", "draw_confusion_matrix"):
        monkeypatch.setattr(evaluation_figures, name, partial(draw, name))
    return arguments


@pytest.fixture
def messages(monkeypatch):
    """What the evaluator warns of, wherever the log goes."""
    found = []
    monkeypatch.setattr(coco_evaluator.logger, "warning", found.append)
    return found


def process(evaluator, detections):
    evaluator.reset()
    for image_id, rows in detections.items():
        classes, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
        instances = Instances((100, 100))
        instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        instances.scores = torch.tensor(scores)
        instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])


def evaluate(evaluator, detections=DETECTIONS, **kwargs):
    process(evaluator, detections)
    return evaluator.evaluate(**kwargs)


def written(folder):
    return [name for name in PICTURES if (folder / name).is_file()]


class TestMatchDetections:
    same = np.ones((2, 2), dtype=bool)
    no_crowd = np.zeros(2, dtype=bool)
    own = np.eye(2, dtype=bool)

    def match(self, ious, same_class=same, is_crowd=no_crowd):
        return match_detections(*map(np.array, (ious, same_class, is_crowd))).tolist()

    def test_the_largest_iou_wins(self):
        assert self.match([[0.6, 0.9], [0.7, 0.1]]) == [1, 0]

    def test_the_higher_score_comes_first(self):
        assert self.match([[0.6, 0.1], [0.9, 0.1]]) == [0, -1]
        assert self.match([[0.6, 0.9], [0.5, 0.8]]) == [1, 0]

    def test_an_iou_under_one_half_is_no_match(self):
        assert self.match([[0.5, 0.0], [0.0, 0.4999]]) == [0, -1]

    def test_the_own_class_comes_first(self):
        # By IoU alone, the first detection would take the object of the second.
        assert self.match([[0.6, 0.9], [0.1, 0.8]], self.own) == [0, 1]
        assert self.match([[0.1, 0.9], [0.1, 0.8]], self.own) == [-1, 1]
        # What is left takes another class.
        assert self.match([[0.1, 0.9], [0.8, 0.1]], self.own) == [1, 0]

    def test_a_crowd_has_room_for_all_of_its_class(self):
        assert self.match([[0.1, 0.9], [0.1, 0.8]], is_crowd=[False, True]) == [1, 1]
        assert self.match([[0.1, 0.9]], [[False, False]], [False, True]) == [-1]
        # Objects come first.
        assert self.match([[0.6, 0.9], [0.6, 0.9]], is_crowd=[False, True]) == [0, 1]

    @pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
    def test_without_objects_nothing_matches(self, shape):
        matches = match_detections(np.zeros(shape), np.zeros(shape, bool), np.zeros(shape[1], bool))
        assert matches.tolist() == [-1] * shape[0]


class TestConfusionMatrix:
    def test_diagonal_and_columns_are_those_of_coco(self, tmp_path):
        rng = np.random.default_rng(0)

        def annotations(n):
            boxes = np.hstack([rng.integers(0, 60, (n, 2)), rng.integers(20, 40, (n, 2))])
            images, ids = rng.integers(1, 21, n), rng.choice(list(NAMES), n)
            return zip(images.tolist(), ids.tolist(), boxes.tolist(), strict=True)

        objects = [(*x, int(rng.random() < 0.1)) for x in annotations(150)]
        coco = COCO(str(write_json(tmp_path / "gt.json", objects, num_images=20)))
        rows = [
            {"image_id": image_id, "category_id": id_, "bbox": box, "score": rng.random()}
            for image_id, id_, box in annotations(600)
        ]
        matrix = confusion_matrix(coco, rows, range(1, 21), score_thresh=0)

        coco_eval = COCOeval(coco, coco.loadRes(rows), "bbox")
        coco_eval.params.iouThrs = np.array([0.5])
        coco_eval.evaluate()
        correct, wrong, num_objects = np.zeros((3, len(NAMES)), dtype=int)
        for x in coco_eval.evalImgs:
            if x is not None and x["aRng"] == coco_eval.params.areaRng[0]:
                cls = sorted(NAMES).index(x["category_id"])
                counted = ~x["dtIgnore"][0].astype(bool)
                correct[cls] += (x["dtMatches"][0][counted] > 0).sum()
                wrong[cls] += (x["dtMatches"][0][counted] == 0).sum()
                num_objects[cls] += (np.array(x["gtIgnore"]) == 0).sum()
        assert correct.min() > 5
        assert matrix.diagonal()[:-1].tolist() == correct.tolist()
        assert matrix.sum(axis=0)[:-1].tolist() == (correct + wrong).tolist()
        assert matrix.sum(axis=1)[:-1].tolist() == num_objects.tolist()


class TestEvaluator:
    @pytest.mark.parametrize("objects", [OBJECTS, []])
    @pytest.mark.parametrize("detections", [DETECTIONS, {1: [], 2: []}])
    def test_both_pictures_are_written(self, build, messages, tmp_path, objects, detections):
        evaluate(build(objects), detections)
        assert messages == []
        assert written(tmp_path) == PICTURES

    # Without the compiled implementation, Detectron2 falls back to pycocotools.
    @pytest.mark.parametrize("use_fast_impl", [True, False])
    def test_matrix_and_curves_are_those_worked_out_by_hand(self, build, drawn, use_fast_impl):
        results = evaluate(build(use_fast_impl=use_fast_impl))["bbox"]
        matrix, names, title = drawn["draw_confusion_matrix"]
        assert matrix.tolist() == MATRIX
        assert names == ["circle", "square", "triangle"]
        assert "0.3" in title

        # Circles by falling score: background, right, a square, right. The precision is 1/2 at
        # the recall of 1/2 and 2/4 at 1. At 0.75, it is the same. There are no right triangles.
        recalls, precisions, names = drawn["draw_pr_curves"]
        assert recalls.tolist() == pytest.approx(np.arange(101) / 100)
        assert list(precisions) == [0.5, 0.75]
        for precision in precisions.values():
            np.testing.assert_allclose(precision[:, CIRCLE], 0.5)
            assert (precision[:, SQUARE] == 0).all()
            assert (precision[:, TRIANGLE] == 0).all()
        assert results["AP50"] == pytest.approx(100 * precisions[0.5].mean())
        assert results["AP75"] == pytest.approx(100 * precisions[0.75].mean())

    def test_the_curves_are_at_their_ious(self, build, drawn):
        # A box of 10 x 6 has an IoU of 0.6 with its object.
        objects = [(1, 1, [0, 0, 10, 10], 0), (1, 1, [20, 0, 10, 10], 0)]
        evaluate(build(objects), {1: [(CIRCLE, 0.9, [0, 0, 10, 6])]})
        _, precisions, _ = drawn["draw_pr_curves"]
        # Half of the objects are found: 1 up to the recall of 0.5, 0 behind it.
        assert precisions[0.5][:, CIRCLE].tolist() == pytest.approx([1] * 51 + [0] * 50)
        assert precisions[0.75][:, CIRCLE].tolist() == [0] * 101
        assert (precisions[0.5][:, SQUARE] == -1).all()

    def test_results_are_those_of_detectron2(self, build, drawn):
        ours = evaluate(build())["bbox"]
        DatasetCatalog.remove("illustrated_test")
        theirs = evaluate(build(cls=COCOEvaluator))["bbox"]
        assert ours == pytest.approx(theirs, nan_ok=True)

    def test_the_matrix_counts_from_the_score_threshold_on(self, build, drawn):
        evaluate(build(score_thresh=0.1))
        matrix, *_ = drawn["draw_confusion_matrix"]
        assert matrix[CIRCLE].tolist() == [2, 0, 0, 0]

    def test_only_the_images_wanted_count(self, build, drawn):
        evaluate(build(), img_ids=[1])
        matrix, *_ = drawn["draw_confusion_matrix"]
        assert matrix[:NONE].sum() == 3 and matrix[NONE].sum() == 0

    def test_without_detections_all_objects_are_missed(self, build, drawn):
        results = evaluate(build(), {1: [], 2: []})
        assert math.isnan(results["bbox"]["AP"])
        matrix, *_ = drawn["draw_confusion_matrix"]
        assert matrix[:, NONE].tolist() == [2, 1, 1, 0] and matrix.sum() == 4

    def test_without_ground_truth_all_detections_are_wrong(self, build, drawn):
        results = evaluate(build([]))
        assert math.isnan(results["bbox"]["AP"])
        matrix, *_ = drawn["draw_confusion_matrix"]
        assert matrix[NONE].tolist() == [3, 2, 1, 0] and matrix.sum() == 6

    def test_without_an_output_folder_nothing_is_drawn(self, build, drawn):
        assert evaluate(build(output_dir=None))["bbox"]["AP50"] > 0
        assert drawn == {}

    def test_only_the_main_process_draws(self, build, drawn, monkeypatch):
        monkeypatch.setattr(comm, "is_main_process", lambda: False)
        assert evaluate(build(distributed=False))["bbox"]["AP50"] > 0
        assert drawn == {}

    def test_detections_of_all_processes_count(self, build, drawn, monkeypatch):
        evaluator = build()
        process(evaluator, {2: DETECTIONS[2]})
        other = evaluator._predictions
        monkeypatch.setattr(comm, "gather", lambda x, dst: [x, other])
        evaluate(evaluator, {1: DETECTIONS[1]})
        assert drawn["draw_confusion_matrix"][0].tolist() == MATRIX

    @pytest.mark.parametrize("name", ["draw_pr_curves", "draw_confusion_matrix"])
    def test_a_failure_does_not_lose_the_results(
        self, build, drawn, monkeypatch, messages, tmp_path, name
    ):
        def fail(*args):
            raise RuntimeError("no canvas")

        monkeypatch.setattr(evaluation_figures, name, fail)
        assert evaluate(build())["bbox"]["AP50"] > 0
        assert len(messages) == 1 and "RuntimeError: no canvas" in messages[0]
        assert len(written(tmp_path)) == 1
