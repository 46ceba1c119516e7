"""Predictions on the left, ground truth on the right."""

import tracemalloc

import numpy as np
import pytest
import torch
from matplotlib.cbook import is_math_text

from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from detectron2.utils.visualizer import Visualizer
from tood_d2.inference.drawing import class_color, draw_detections, draw_predictions

HEIGHT, WIDTH = 120, 200
NAMES = ["circle", "square"]


@pytest.fixture
def image():
    return np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)


def boxes(*rows):
    return Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


def predictions(*rows):
    """Rows of (class, score, box)."""
    classes, scores, rows = zip(*rows, strict=True) if rows else ((), (), ())
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=boxes(*rows),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def ground_truth(*rows):
    """Rows of (class, box)."""
    classes, rows = zip(*rows, strict=True) if rows else ((), ())
    return Instances(
        (HEIGHT, WIDTH),
        gt_boxes=boxes(*rows),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )


@pytest.fixture
def calls(monkeypatch):
    """What the visualizer is asked to draw, left and right."""
    found = []
    overlay = Visualizer.overlay_instances

    def spy(self, **kwargs):
        found.append(kwargs)
        return overlay(self, **kwargs)

    monkeypatch.setattr(Visualizer, "overlay_instances", spy)
    return found


class TestDrawPredictions:
    pred = predictions((1, 0.9, [10, 10, 60, 60]), (0, 0.2, [110, 60, 180, 110]))
    gt = ground_truth((1, [12, 12, 62, 62]))

    def test_sides(self, image):
        picture = draw_predictions(image, self.pred, self.gt, NAMES, score_thresh=0.3)
        assert picture.shape == (HEIGHT, 2 * WIDTH, 3) and picture.dtype == np.uint8
        left, right = picture[:, :WIDTH], picture[:, WIDTH:]
        for side, box in [(left, self.pred.pred_boxes), (right, self.gt.gt_boxes)]:
            x1, y1, x2, y2 = box.tensor[0].int().tolist()
            middle = (y1 + y2) // 2
            assert (side[middle, x1] != 128).any() and (side[middle, x2] != 128).any()
            assert (side[middle, (x1 + x2) // 2] == 128).all()
        assert (left[:, 100:] == 128).all()  # the uncertain prediction is left out
        assert (image == 128).all()

    def test_colours_can_be_chosen(self, image, calls):
        draw_detections(image, self.pred, NAMES, color_numbers=[5, 74])  # there are 74
        (drawn,) = calls
        expected = [class_color(0), class_color(5)]  # of "square" and "circle"
        np.testing.assert_array_equal(drawn["assigned_colors"], expected)

    def test_labels_and_colours(self, image, calls):
        draw_predictions(image, self.pred, self.gt, NAMES, score_thresh=0.1)
        left, right = calls
        assert left["labels"] == ["square 90%", "circle 20%"]
        assert right["labels"] == ["square"]
        assert (left["assigned_colors"][0] == right["assigned_colors"][0]).all()
        assert (left["assigned_colors"][0] != left["assigned_colors"][1]).any()

    def test_classes_without_names(self, image, calls):
        pred = predictions((123, 0.9, [10, 10, 40, 40]))
        draw_predictions(image, pred, self.gt, [], score_thresh=0.3)
        assert [x["labels"] for x in calls] == [["123 90%"], ["1"]]

    @pytest.mark.parametrize("rows", [(), ((1, 0.1, [10, 10, 40, 40]),)])
    def test_nothing_to_draw(self, image, rows):
        picture = draw_predictions(
            image, predictions(*rows), ground_truth(), NAMES, score_thresh=0.3
        )
        assert (picture == 128).all() and picture.shape == (HEIGHT, 2 * WIDTH, 3)

    def test_tensorboard(self, image):
        picture = draw_predictions(image, self.pred, self.gt, NAMES, score_thresh=0.3)
        with EventStorage() as storage:
            storage.put_image("predictions", picture.transpose(2, 0, 1))

    def test_predictions_in_training(self, image):
        pred = predictions((1, 0.9, [10, 10, 40, 40]))
        pred.pred_boxes.tensor.requires_grad_()
        draw_predictions(image, pred, self.gt, NAMES, score_thresh=0.3)


class TestDrawDetections:
    pred = predictions(
        (1, 0.9, [10, 10, 60, 60]), (1, 0.5, [80, 60, 99, 90]), (0, 0.2, [1, 1, 9, 9])
    )

    def test_labels(self, image, calls):
        drawing = draw_detections(image, self.pred[:2], NAMES)
        assert calls[0]["labels"] == ["square 90%", "square 50%"]
        picture = drawing.get_image()
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert (picture[40, 10] != 128).any() and (picture[30:50, 30:40] == 128).all()
        assert (image == 128).all()

    def test_a_class_keeps_its_colour(self, image, calls):
        for _ in range(2):
            draw_detections(image, self.pred, ["circle", "square"])
        first, second = ([tuple(x) for x in call["assigned_colors"]] for call in calls)
        assert first == second
        assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("name", ["$x^2$", r"$\frac{$", "US$"])
def test_dollars_in_a_class_name_make_no_formula(image, name):
    drawn = draw_detections(image, predictions((0, 0.9, (20, 40, 90, 90))), [name])
    drawn.get_image()  # fails on a wrong formula
    (text,) = drawn.ax.texts
    assert text.get_text().endswith(" 90%") and not is_math_text(text.get_text())


def test_labels_stay_in_the_image(image):
    rows = [(1, 0.9, (WIDTH - 20, 60, WIDTH, 100)), (0, 0.8, (5, 60, 40, 100))]
    output = draw_detections(image, predictions(*rows), NAMES)
    square, circle = sorted(output.ax.texts, key=lambda x: "circle" in x.get_text())
    assert circle.get_position()[0] == 5
    extent = square.get_window_extent(output.canvas.get_renderer())
    assert extent.x1 == pytest.approx(WIDTH, abs=1)
    assert extent.x0 < WIDTH - 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3000)])
def test_thin_images_keep_their_size(shape):
    image = np.full((*shape, 3), 128, np.uint8)
    pred = predictions((0, 0.9, (0, 0, shape[1], shape[0])))
    picture = draw_detections(image, pred, NAMES).get_image()
    assert picture.shape == image.shape and (picture != 128).any()


def test_all_that_is_not_drawn_on_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (600, 90, 3), dtype=np.uint8)
    picture = draw_detections(image, predictions((0, 0.9, (20, 500, 70, 590))), NAMES).get_image()
    changed = (picture != image).any(axis=2)
    assert changed[550, 20] and changed[550, 70] and not changed[520:580, 30:60].any()
    assert not changed[:490].any()


def test_drawing_takes_little_memory_for_large_images():
    image = np.zeros((2000, 2000, 3), np.uint8)
    drawing = draw_detections(image, predictions((0, 0.9, (20, 40, 900, 900))), NAMES)
    tracemalloc.start()
    drawing.get_image()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * image.nbytes
