"""The columns of the paper's Table 6, worked out by hand.

Boxes of a width of 10 at x = 0 and a height h have an IoU of h / 10 with the 10 x 10 box there.
"""

import math

import pytest
import torch

from detectron2.structures import Boxes, Instances
from tood_d2.inference import DensePredictions
from tood_d2.inspection.alignment import (
    AlignmentEvaluator,
    average_ranks,
    count_detections,
    match_instances,
    predictions_of_instances,
    rank_correlation,
)

SQUARE = [0, 0, 10, 10]
NEIGHBOUR = [8, 0, 18, 10]
FAR = [100, 100, 110, 110]


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def classes(*rows):
    return torch.tensor(rows, dtype=torch.int64)


def with_iou(*ious):
    """Boxes that have these IoUs with SQUARE."""
    return boxes(*([0, 0, 10, 10 * iou] for iou in ious))


def only_instance(scores, pred_boxes):
    """Predictions of SQUARE, where it is the only instance and its class the only one."""
    scores = torch.tensor(scores, dtype=torch.float32)[:, None]
    (instance,) = predictions_of_instances(scores, pred_boxes, boxes(SQUARE), classes(0))
    return instance


class TestAverageRanks:
    def test_ranks(self):
        assert average_ranks(torch.tensor([0.3, 0.1, 0.2])).tolist() == [3, 1, 2]

    def test_ties_share_the_mean_of_their_ranks(self):
        # Sorted: 1, 5, 5, 7, 7, 7 with the ranks 1, (2 + 3) / 2 and (4 + 5 + 6) / 3.
        ranks = average_ranks(torch.tensor([7, 5, 7, 1, 5, 7]))
        assert ranks.tolist() == [5, 2.5, 5, 1, 2.5, 5]

    def test_no_values(self):
        assert average_ranks(torch.zeros(0)).tolist() == []


class TestRankCorrelation:
    def test_by_hand(self):
        # Ranks 1 2 3 4 and 2 1 4 3, less their mean: -1.5 -0.5 0.5 1.5 and -0.5 -1.5 1.5 0.5.
        # Products: 0.75 + 0.75 + 0.75 + 0.75 = 3; squares: 2.25 + 0.25 + 0.25 + 2.25 = 5.
        x, y = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.5, 0.1, 100.0, 0.9])
        assert rank_correlation(x, y) == pytest.approx(3 / 5)

    def test_ties(self):
        # Ranks 1, 2.5, 2.5 and 1, 2, 3, less 2: -1, 0.5, 0.5 and -1, 0, 1.
        # Products: 1 + 0 + 0.5 = 1.5; squares: 1.5 and 2.
        x, y = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 3.0])
        assert rank_correlation(x, y) == pytest.approx(1.5 / math.sqrt(3))

    @pytest.mark.parametrize("x", [[], [0.5], [0.5, 0.5, 0.5]])
    def test_values_without_variation_have_no_correlation(self, x):
        y = torch.arange(len(x))
        assert math.isnan(rank_correlation(torch.tensor(x), y))
        assert math.isnan(rank_correlation(y, torch.tensor(x)))


class TestMatching:
    def test_the_instance_of_the_class_with_the_largest_iou(self):
        # Columns 0 to 9 against SQUARE's 0 to 10 and NEIGHBOUR's 8 to 18: 90 / 100 and 10 / 180.
        # Columns 6 to 16: 40 / 160 and 80 / 120. Class 1 has FAR alone, class 2 nothing.
        gt_boxes, gt_classes = boxes(SQUARE, NEIGHBOUR, FAR), classes(0, 0, 1)
        pred_boxes = boxes([0, 0, 9, 10], [6, 0, 16, 10], SQUARE, FAR, SQUARE)
        ious, idxs = match_instances(pred_boxes, classes(0, 0, 1, 1, 2), gt_boxes, gt_classes)
        assert ious.tolist() == pytest.approx([0.9, 80 / 120, 0, 1, 0])
        assert idxs.tolist() == [0, 1, -1, 2, -1]

    def test_no_instances(self):
        ious, idxs = match_instances(boxes(SQUARE), classes(0), boxes(), classes())
        assert (ious.tolist(), idxs.tolist()) == ([0], [-1])

    def test_no_boxes(self):
        ious, idxs = match_instances(boxes(), classes(), boxes(SQUARE), classes(0))
        assert (ious.tolist(), idxs.tolist()) == ([], [])

    def test_boxes_that_are_not_finite_overlap_nothing(self):
        pred_boxes = boxes([math.nan] * 4, [-math.inf, 0, math.inf, 10])
        ious, idxs = match_instances(pred_boxes, classes(0, 0), boxes(SQUARE), classes(0))
        assert (ious.tolist(), idxs.tolist()) == ([0, 0], [-1, -1])


class TestInstances:
    def test_score_as_iou_correlates_perfectly(self):
        ious = torch.rand(200) * 0.9 + 0.1
        pred_boxes = with_iou(*ious.tolist())
        assert only_instance(ious.tolist(), pred_boxes).pcc == 1
        assert only_instance((1 - ious).tolist(), pred_boxes).pcc == -1

    def test_by_hand(self):
        # By falling score the IoUs are 0.4, 0.8, 0.2; their ranks 2, 3, 1 against 3, 2, 1.
        # Less 2: 0, 1, -1 and 1, 0, -1; products 1, squares 2.
        instance = only_instance([0.1, 0.3, 0.2], with_iou(0.2, 0.4, 0.8))
        assert instance.scores.tolist() == pytest.approx([0.3, 0.2, 0.1])
        assert instance.ious.tolist() == pytest.approx([0.4, 0.8, 0.2])
        assert instance.pcc == pytest.approx(1 / 2)
        assert instance.iou == pytest.approx(1.4 / 3)

    def test_only_the_most_confident_count(self):
        # 60 predictions. The first 50 by score: ten with IoU 0.5, then forty with falling IoU.
        # The last ten, of IoU 1, would change everything.
        ious = [0.5] * 10 + [0.4 - i / 200 for i in range(40)] + [1.0] * 10
        order = torch.randperm(60)
        scores = torch.linspace(1, 0.01, 60)[order].tolist()
        instance = only_instance(scores, with_iou(*torch.tensor(ious)[order].tolist()))
        assert len(instance.scores) == len(instance.ious) == 50
        assert instance.ious.max() == 0.5
        assert instance.iou == pytest.approx(0.5)
        # Scores have the ranks 50 to 1, IoUs the same but for the ten that share 45.5.
        # Sum of squares of the ranks less their mean: 50 (50^2 - 1) / 12 = 10412.5; the ten lose
        # 10 (10^2 - 1) / 12 = 82.5, and so does the sum of products.
        assert instance.pcc == pytest.approx((10412.5 - 82.5) / math.sqrt(10412.5 * 10330))

    def test_neighbours_of_one_class(self):
        # All four boxes overlap both instances, with IoUs of 1 or 1 / 2 the one that they are
        # predictions of, with 20 / 180 or 10 / 140 the other.
        pred_boxes = boxes(SQUARE, NEIGHBOUR, [0, 0, 10, 5], [8, 0, 18, 5])
        scores = torch.tensor([0.9, 0.8, 0.3, 0.4])[:, None]
        first, second = predictions_of_instances(
            scores, pred_boxes, boxes(SQUARE, NEIGHBOUR), classes(0, 0)
        )
        assert first.scores.tolist() == pytest.approx([0.9, 0.3])
        assert first.ious.tolist() == [1, 0.5]
        assert second.scores.tolist() == pytest.approx([0.8, 0.4])
        assert second.ious.tolist() == [1, 0.5]

    def test_neighbours_of_two_classes(self):
        # Here both boxes are predictions of both instances, each with the score of its class.
        # NEIGHBOUR and SQUARE share 2 x 10 of 180: IoU 1 / 9.
        scores = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        first, second = predictions_of_instances(
            scores, boxes(SQUARE, NEIGHBOUR), boxes(SQUARE, NEIGHBOUR), classes(0, 1)
        )
        assert first.scores.tolist() == pytest.approx([0.9, 0.2])
        assert first.ious.tolist() == pytest.approx([1, 1 / 9])
        assert second.scores.tolist() == pytest.approx([0.8, 0.1])
        assert second.ious.tolist() == pytest.approx([1, 1 / 9])

    def test_no_prediction(self):
        instance = only_instance([0.9], boxes(FAR))
        assert len(instance.scores) == len(instance.ious) == 0
        assert math.isnan(instance.pcc)
        assert instance.iou == 0

    def test_no_instances(self):
        assert predictions_of_instances(torch.rand(1, 3), boxes(SQUARE), boxes(), classes()) == []


def counts_of(*args):
    """Numbers of correct, redundant and erroneous detections."""
    return tuple(count_detections(*args).values())


class TestCounts:
    @pytest.mark.parametrize(
        ("iou", "expected"),
        [
            (1.0, (1, 0, 0)),
            (0.5, (1, 0, 0)),
            (0.4, (0, 0, 1)),
            (0.2, (0, 0, 1)),
            (0.1, (0, 0, 0)),
            (0.05, (0, 0, 0)),
        ],
    )
    def test_one_detection(self, iou, expected):
        assert counts_of(with_iou(iou), classes(0), boxes(SQUARE), classes(0)) == expected

    def test_further_detections_are_redundant(self):
        # Two instances, with IoUs 0.6, 1, 0.3 and 0.5 of the first and 1 of the second.
        pred_boxes = torch.cat([with_iou(0.6, 1, 0.3, 0.5), boxes(FAR)])
        counts = counts_of(pred_boxes, classes(0, 0, 0, 0, 0), boxes(SQUARE, FAR), classes(0, 0))
        assert counts == (2, 2, 1)

    def test_other_class(self):
        # Right place, wrong class: nothing that the table counts.
        counts = counts_of(boxes(SQUARE), classes(1), boxes(SQUARE, FAR), classes(0, 1))
        assert counts == (0, 0, 0)

    def test_between_neighbours(self):
        # Columns 4 to 14 have IoU 60 / 140 with each of SQUARE and NEIGHBOUR: one error, not two.
        counts = counts_of(
            boxes([4, 0, 14, 10]), classes(0), boxes(SQUARE, NEIGHBOUR), classes(0, 0)
        )
        assert counts == (0, 0, 1)

    def test_nothing_detected(self):
        assert counts_of(boxes(), classes(), boxes(SQUARE), classes(0)) == (0, 0, 0)

    def test_nothing_to_detect(self):
        assert counts_of(boxes(SQUARE), classes(0), boxes(), classes()) == (0, 0, 0)


class TestEvaluator:
    size = (128, 128)

    def add(self, evaluator, scores, pred_boxes, detected, gt_boxes):
        """Adds an image in which all is of the second of two classes."""
        scores = torch.tensor([[0, score] for score in scores])
        predictions = DensePredictions(scores, pred_boxes, self.size, [(1, len(scores), 1)])
        detections = Instances(
            self.size,
            pred_boxes=Boxes(detected),
            pred_classes=torch.ones(len(detected), dtype=torch.int64),
        )
        gt_classes = torch.ones(len(gt_boxes), dtype=torch.int64)
        gt = Instances(self.size, gt_boxes=Boxes(gt_boxes), gt_classes=gt_classes)
        evaluator.add(predictions, detections, gt)

    def test_means_and_sums(self):
        evaluator = AlignmentEvaluator()
        # SQUARE: PCC 1, IoU (0.2 + 0.8) / 2. FAR: nothing predicted, no PCC, IoU 0.
        self.add(
            evaluator, [0.1, 0.7], with_iou(0.2, 0.8), with_iou(0.8, 0.7, 0.3), boxes(SQUARE, FAR)
        )
        # PCC 1 / 2, IoU 1.4 / 3: see TestInstances.test_by_hand.
        self.add(
            evaluator,
            [0.1, 0.3, 0.2],
            with_iou(0.2, 0.4, 0.8),
            with_iou(0.6, 0.4),
            boxes(SQUARE),
        )
        # An image without objects adds nothing.
        self.add(evaluator, [0.5], boxes(SQUARE), boxes(SQUARE), boxes())
        # A single prediction has no rank correlation; IoU 1.
        self.add(evaluator, [0.5], boxes(SQUARE), boxes(), boxes(SQUARE))
        summary = evaluator.summarize()
        assert summary.pop("instance_pcc") == pytest.approx([1, None, 1 / 2, None])
        assert summary.pop("instance_iou") == pytest.approx([0.5, 0, 1.4 / 3, 1])
        assert summary == pytest.approx(
            {
                "pcc": (1 + 1 / 2) / 2,
                "iou": (0.5 + 0 + 1.4 / 3 + 1) / 4,
                "correct": 1 + 1,
                "redundant": 1,
                "error": 1 + 1,
                "num_instances": 4,
                "num_instances_without_pcc": 2,
            }
        )

    def test_no_pcc_at_all(self):
        evaluator = AlignmentEvaluator()
        self.add(evaluator, [0.5], boxes(FAR), boxes(), boxes(SQUARE))
        summary = evaluator.summarize()
        assert (summary["pcc"], summary["iou"]) == (None, 0)
        assert summary["num_instances"] == summary["num_instances_without_pcc"] == 1

    def test_nothing_seen(self):
        assert AlignmentEvaluator().summarize() == {
            "pcc": None,
            "iou": None,
            "correct": 0,
            "redundant": 0,
            "error": 0,
            "num_instances": 0,
            "num_instances_without_pcc": 0,
            "instance_pcc": [],
            "instance_iou": [],
        }
