"""What the figures of an evaluation show, and that they can be drawn whatever the data."""

import io
import warnings

import cv2
import numpy as np
import pytest

from tood_d2.evaluation.figures import draw_confusion_matrix, draw_pr_curves

RECALLS = np.linspace(0, 1, 101)
NAMES = ["circle", "square", "triangle"]


def render(figure):
    """The picture of a figure (H, W, 3), drawn without warnings."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(file, format="png")
    picture = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.std() > 0
    return picture


def up_to(*max_recalls):
    """Precisions (101, K) of 1 up to these recalls, and 0 behind."""
    return (np.arange(101)[:, None] <= np.array(max_recalls) * 100).astype(float)


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def cells(figure):
    """Texts of the cells by (row, column)."""
    return {
        (round(y), round(x)): text.get_text()
        for text in figure.axes[0].texts
        for x, y in [text.get_position()]
    }


class TestPrecisionRecall:
    def test_by_hand(self):
        # 26, 51 and 76 of 101 points are 1: AP of 25.7, 50.5 and 75.2, 50.5 in the mean.
        precisions = {0.5: up_to(0.25, 0.75, 0.5), 0.75: up_to(0, 0, 0)}
        figure = draw_pr_curves(RECALLS, precisions, NAMES)
        assert legend(figure) == [
            "50.5  mean at IoU 0.5",
            "1.0  mean at IoU 0.75",
            "75.2  square",
            "50.5  triangle",
            "25.7  circle",
        ]
        mean, *_ = figure.axes[0].lines
        x, y = mean.get_data()
        assert x[[0, 25, 26, 75, 76]].tolist() == [0, 0.25, 0.26, 0.75, 0.76]
        assert y[[0, 25, 26, 75, 76]] == pytest.approx([1, 1, 2 / 3, 1 / 3, 0])
        render(figure)

    def test_a_class_without_ground_truth_is_left_out(self):
        precision = up_to(1, 0, 0)
        precision[:, 1] = -1
        figure = draw_pr_curves(RECALLS, {0.5: precision}, NAMES)
        # Of the other two, one is perfect, and one has a point of 101.
        assert legend(figure) == ["50.5  mean at IoU 0.5", "100.0  circle", "1.0  triangle"]

    def test_of_many_classes_the_best_and_the_worst_are_named(self):
        aps = np.arange(80) / 100
        figure = draw_pr_curves(RECALLS, {0.5: up_to(*aps)}, [f"class {i}" for i in range(80)])
        names = [x.split("  ")[-1] for x in legend(figure)]
        assert names == [
            "mean at IoU 0.5",
            *(f"class {i}" for i in (79, 78, 77, 76, 75)),
            "70 other classes",
            *(f"class {i}" for i in (4, 3, 2, 1, 0)),
        ]
        assert len(figure.axes[0].lines) == 81
        render(figure)

    @pytest.mark.parametrize(("num_classes", "num_lines"), [(10, 11), (11, 12)])
    def test_the_number_from_which_some_have_no_name(self, num_classes, num_lines):
        names = [str(i) for i in range(num_classes)]
        figure = draw_pr_curves(RECALLS, {0.5: up_to(*[0.5] * num_classes)}, names)
        assert len(figure.axes[0].lines) == num_lines
        has_others = any("other classes" in x for x in legend(figure))
        assert has_others == (num_classes == 11)

    @pytest.mark.parametrize("precision", [-np.ones((101, 3)), np.zeros((101, 0))])
    def test_a_sentence_stands_where_there_is_nothing_to_draw(self, precision):
        figure = draw_pr_curves(RECALLS, {0.5: precision, 0.75: precision}, NAMES)
        (text,) = figure.axes[0].texts
        assert text.get_text() == "no detections or no ground truth"
        render(figure)

    def test_curves_may_have_no_points(self):
        render(draw_pr_curves(np.zeros(0), {0.5: np.zeros((0, 3))}, NAMES))

    def test_odd_names_are_shortened_and_no_formulas(self):
        names = ["US$ or $\\oops$", "_hidden", "long" * 20]
        figure = draw_pr_curves(RECALLS, {0.5: up_to(0.3, 0.2, 0.1)}, names)
        assert len(legend(figure)) == 4
        render(figure)


class TestConfusionMatrix:
    def test_by_hand(self):
        matrix = np.array([[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 2], [4, 0, 1, 0]])
        figure = draw_confusion_matrix(matrix, NAMES, "a title")
        assert cells(figure) == {
            (0, 0): "3\n75%",
            (0, 2): "1\n25%",
            (2, 2): "1\n33%",
            (2, 3): "2\n67%",
            (3, 0): "4\n80%",
            (3, 2): "1\n20%",
        }
        ax = figure.axes[0]
        assert ax.get_title() == "a title"
        rows = [x.get_text() for x in ax.get_yticklabels()]
        assert rows == ["circle (4)", "square (0)", "triangle (3)", "background (5)"]
        columns = [x.get_text() for x in ax.get_xticklabels()]
        assert columns == ["circle", "square", "triangle", "nothing"]
        percent = ax.images[0].get_array().filled(np.nan)
        np.testing.assert_allclose(percent[0], [75, 0, 25, 0])
        # A class without objects has no percentages, nor has what is neither there nor found.
        assert np.isnan(percent[1]).all() and np.isnan(percent[3, 3])
        render(figure)

    def test_cells_of_many_classes_have_percentages_only(self):
        matrix = np.eye(31, dtype=np.int64) * 1000
        matrix[0, 1], matrix[0, 2] = 100, 4
        figure = draw_confusion_matrix(matrix, [f"class {i}" for i in range(30)], "")
        texts = cells(figure)
        # 100 and 4 of 1104. What would be 0 after rounding has no text.
        assert texts[0, 0] == "91" and texts[0, 1] == "9" and (0, 2) not in texts
        height, width, _ = render(figure).shape
        assert height > 31 * 20 and width > 31 * 20  # pixels, for legible cells

    def test_more_classes_than_have_room_have_no_texts(self):
        matrix = np.eye(1204, dtype=np.int64)
        figure = draw_confusion_matrix(matrix, ["?"] * 1203, "")
        assert cells(figure) == {}
        assert max(figure.get_size_inches() * figure.dpi) < 4000  # pixels
        assert not any("?" in x.get_text() for x in figure.axes[0].get_yticklabels())

    @pytest.mark.parametrize("num_classes", [0, 1, 3])
    def test_an_empty_matrix_has_no_texts(self, num_classes):
        matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
        figure = draw_confusion_matrix(matrix, NAMES[:num_classes], "")
        assert cells(figure) == {}
        render(figure)

    def test_odd_names_are_shortened_and_no_formulas(self):
        render(draw_confusion_matrix(np.eye(3, dtype=int), ["$a$ $\\b", "long" * 20], ""))
