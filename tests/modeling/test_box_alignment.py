"""Decoding and box alignment. Box maps are (N, 4, H, W), offsets (N, 8, H, W)."""

import math

import pytest
import torch
from torchvision.ops import deform_conv2d

from detectron2.structures import Boxes
from tood_d2.modeling.box_alignment import (
    align_boxes,
    decode_deltas,
    decode_distances,
    sample_sides,
)


def box_map(*rows):
    """Rows of boxes -> (1, 4, H, W)."""
    return torch.tensor([rows], dtype=torch.float32).permute(0, 3, 1, 2)


def no_offsets(height, width):
    """(1, 8, H, W) and a view of it as (sides, dy dx, H, W)."""
    offsets = torch.zeros(1, 8, height, width)
    return offsets, offsets.view(4, 2, height, width)


class TestDecodeDistances:
    # Squares centred at (0, 0) and (8, 0).
    anchors = Boxes(torch.tensor([[-32.0, -32, 32, 32], [-24, -32, 40, 32]]))

    def test_distances_are_exponentials_in_strides(self):
        # Times stride 8 and scale 0.5: 4, 8, 12, 16 and 8, 4, 2, 4 pixels.
        reg = box_map([[1, 2, 3, 4], [2, 1, 0.5, 1]]).log()
        boxes = decode_distances(reg, torch.tensor(0.5), self.anchors, stride=8)
        expected = box_map([[-4, -8, 12, 16], [8 - 8, -4, 8 + 2, 4]])
        torch.testing.assert_close(boxes, expected)

    def test_locations_are_in_row_order(self, anchor_generator):
        (anchors,) = anchor_generator([8])([torch.zeros(1, 1, 2, 3)])
        reg = torch.full((1, 4, 2, 3), -math.inf)  # distances of 0
        boxes = decode_distances(reg, torch.tensor(1.0), anchors, stride=8)
        x = torch.tensor([[0.0, 8, 16], [0, 8, 16]])
        y = torch.tensor([[0.0, 0, 0], [8, 8, 8]])
        torch.testing.assert_close(boxes, torch.stack((x, y, x, y))[None])

    def test_overflow_stays_finite(self):
        reg = box_map([[1e9, math.inf, 1e9, 1e9], [-1e9, -math.inf, -1e9, -1e9]]).requires_grad_()
        boxes = decode_distances(reg, torch.tensor(1.0), self.anchors, stride=8)
        # At most 1e4 strides, 80000 px; at least nothing.
        expected = box_map([[-8e4, -8e4, 8e4, 8e4], [8, 0, 8, 0]])
        torch.testing.assert_close(boxes.detach(), expected)
        boxes.sum().backward()
        assert reg.grad.isfinite().all()

    def test_half_precision_is_decoded_in_float32(self):
        reg = torch.full((1, 4, 1, 2), 11.0, dtype=torch.float16)  # 8e^11 = 5e5 > 65504
        boxes = decode_distances(reg, torch.tensor(1.0), self.anchors, stride=8)
        assert boxes.dtype == torch.float32
        assert boxes.isfinite().all()


class TestDecodeDeltas:
    anchors = Boxes(torch.tensor([[-24.0, -16, 40, 48]]))  # of side 64 around (8, 16)

    def test_weighted_deltas(self):
        # Times scale 2: dx = 2.5 / 10, dy = -5 / 10, dw = 5 log 2 / 5, dh = -5 log 2 / 5.
        reg = box_map([[1.25, -2.5, 2.5 * math.log(2), -2.5 * math.log(2)]])
        boxes = decode_deltas(reg, torch.tensor(2.0), self.anchors)
        # Centre (8 + 0.25 * 64, 16 - 0.5 * 64) = (24, -16), size 128 x 32.
        torch.testing.assert_close(boxes, box_map([[-40, -32, 88, 0]]))

    def test_no_deltas_are_the_anchors(self, anchor_generator):
        (anchors,) = anchor_generator([8])([torch.zeros(1, 1, 2, 3)])
        boxes = decode_deltas(torch.zeros(2, 4, 2, 3), torch.tensor(1.0), anchors)
        # The second image, row 1, column 2: 64 px around (16, 8).
        assert boxes.shape == (2, 4, 2, 3)
        torch.testing.assert_close(boxes[1, :, 1, 2], torch.tensor([-16.0, -24, 48, 40]))

    @pytest.mark.parametrize("value", [1e6, math.inf])
    def test_sizes_are_clamped_on_both_sides(self, value):
        reg = box_map([[0, 0, value, -value]]).requires_grad_()
        boxes = decode_deltas(reg, torch.tensor(1.0), self.anchors)
        # Width 64 * 1000 / 16 = 4000, height 64 * 16 / 1000 = 1.024.
        expected = box_map([[8 - 2000, 16 - 0.512, 8 + 2000, 16 + 0.512]])
        torch.testing.assert_close(boxes.detach(), expected)
        boxes.sum().backward()
        assert reg.grad.isfinite().all()

    def test_shifts_are_not_clamped(self):
        boxes = decode_deltas(box_map([[-1e3, 0, 0, 0]]), torch.tensor(1.0), self.anchors)
        # The centre moves by -1000 / 10 * 64 = -6400.
        torch.testing.assert_close(boxes, box_map([[-6424, -16, -6360, 48]]))


class TestSampleSides:
    # Side c of the map is 10 * c + (1 2 3 / 4 5 6).
    boxes = torch.arange(1.0, 7).view(1, 1, 2, 3) + 10 * torch.arange(4).view(1, 4, 1, 1)

    def test_no_offset_is_the_identity(self):
        offsets, _ = no_offsets(2, 3)
        torch.testing.assert_close(sample_sides(self.boxes, offsets), self.boxes)

    def test_every_side_has_its_own_shift(self):
        offsets, view = no_offsets(2, 3)
        view[0, 0] = 1  # x1 one row below, zero under the last
        view[1, 1] = -1  # y1 one column to the left, zero left of the first
        view[3, 0], view[3, 1] = -1, 2  # y2 one row above and two columns to the right
        sampled = sample_sides(self.boxes, offsets)[0]
        torch.testing.assert_close(sampled[0], torch.tensor([[4.0, 5, 6], [0, 0, 0]]))
        torch.testing.assert_close(sampled[1], torch.tensor([[0.0, 11, 12], [0, 14, 15]]))
        torch.testing.assert_close(sampled[2], self.boxes[0, 2])
        torch.testing.assert_close(sampled[3], torch.tensor([[0.0, 0, 0], [33, 0, 0]]))

    def test_fractions_interpolate_and_outside_is_zero(self):
        offsets, view = no_offsets(2, 3)
        view[0] = 0.5
        view[1, 1] = -0.25
        sampled = sample_sides(self.boxes, offsets)[0]
        expected = torch.tensor(
            [
                # (1 + 2 + 4 + 5) / 4, (2 + 3 + 5 + 6) / 4, (3 + 6) / 4
                [3.0, 4.0, 2.25],
                # (4 + 5) / 4, (5 + 6) / 4, 6 / 4
                [2.25, 2.75, 1.5],
            ]
        )
        torch.testing.assert_close(sampled[0], expected)
        # A quarter of the left neighbour, in the first column of nothing.
        expected = torch.tensor([[0.75 * 11, 11.75, 12.75], [0.75 * 14, 14.75, 15.75]])
        torch.testing.assert_close(sampled[1], expected)

    def test_map_of_one_cell(self):
        offsets, view = no_offsets(1, 1)
        view[1, 0], view[2, 1], view[3, 1] = 0.25, -0.5, 1
        sampled = sample_sides(torch.full((1, 4, 1, 1), 8.0), offsets)
        torch.testing.assert_close(sampled.flatten(), torch.tensor([8.0, 0.75 * 8, 0.5 * 8, 0]))

    def test_map_of_one_row(self):
        offsets, view = no_offsets(1, 3)
        view[:, 1] = 0.5
        view[1, 0] = 0.5
        sampled = sample_sides(self.boxes[:, :, :1], offsets)[0]
        torch.testing.assert_close(sampled[0, 0], torch.tensor([1.5, 2.5, 1.5]))
        torch.testing.assert_close(sampled[1, 0], torch.tensor([11.5, 12.5, 6.5]) / 2)

    @pytest.mark.parametrize("value", [1e6, -1e6, math.inf, -math.inf])
    def test_far_outside_is_zero(self, value):
        # Sizes at which the coordinates of the cell next to the map are not exact in float32.
        boxes = torch.ones(1, 4, 6, 14, requires_grad=True)
        offsets, view = no_offsets(6, 14)
        view[0, 0], view[1, 1] = value, value
        sampled = sample_sides(boxes, offsets.requires_grad_())
        assert (sampled[0, :2] == 0).all()
        torch.testing.assert_close(sampled[0, 2:], boxes[0, 2:])
        sampled.sum().backward()
        assert offsets.grad.isfinite().all()
        assert boxes.grad.isfinite().all()

    @pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (5, 7)])
    def test_equals_deformable_convolution_of_ones(self, size):
        """The official code samples by a 1x1 deformable convolution with a group per side."""
        boxes = torch.randn(2, 4, *size, requires_grad=True)
        offsets = (2 * torch.randn(2, 8, *size)).requires_grad_()
        weights = torch.randn(2, 4, *size)  # of the gradient
        results = []
        for sampled in (
            sample_sides(boxes, offsets),
            deform_conv2d(boxes, offsets, torch.ones(4, 1, 1, 1)),
        ):
            results.append(
                (sampled, *torch.autograd.grad((sampled * weights).sum(), (boxes, offsets)))
            )
        for actual, expected in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


class TestAlignBoxes:
    boxes = box_map([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])

    def test_crossed_boxes_stay_as_a_whole(self):
        offsets, view = no_offsets(1, 3)
        dx = view[:, 1, 0]  # (sides, 3 boxes)
        # First box: x1 and y2 of the second, 20 > 10: it stays, y2 included.
        dx[0, 0] = dx[3, 0] = 1
        # Second box: x1 of the first, y2 of the third.
        dx[0, 1], dx[3, 1] = -1, 1
        # Third box: y2 of the second, 40 > 30: it stays.
        dx[3, 2] = -1
        aligned = align_boxes(self.boxes, offsets)
        expected = box_map([[0, 0, 10, 10], [0, 20, 30, 50], [40, 40, 50, 50]])
        torch.testing.assert_close(aligned, expected)

    def test_empty_box_is_not_crossed(self):
        # Outside the map all sides are zero.
        offsets = torch.full((1, 8, 1, 3), 100.0)
        torch.testing.assert_close(align_boxes(self.boxes, offsets), torch.zeros(1, 4, 1, 3))

    def test_no_offset_is_the_identity(self):
        # Also for a box that is crossed to begin with.
        boxes = box_map([[5, 0, 3, 10], [20, 20, 30, 30]])
        torch.testing.assert_close(align_boxes(boxes, torch.zeros(1, 8, 1, 2)), boxes)
