"""Boxes of one feature level: decoding, and the box alignment of the task-aligned head.

Shapes: N images, a level of H x W locations with one anchor each. All box maps are
(N, 4, H, W), XYXY in pixels of the network input.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes

# No image is that many strides wide: the bound keeps a diverging regression finite.
MAX_LOG_DISTANCE = math.log(1e4)

_delta_transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))


def decode_distances(reg: Tensor, scale: Tensor, anchors: Boxes, stride: int) -> Tensor:
    """Anchor-free decoding: distances from the anchor's centre to the four sides.

    Args:
        reg: (N, 4, H, W) logarithms of the distances in strides: left, top, right, bottom.
        scale: scalar factor of the distances, outside the exponential.
        anchors: the H*W anchors of the level.
        stride: of the level, in pixels.
    """
    distances = scale.float() * stride * reg.float().clamp(max=MAX_LOG_DISTANCE).exp()
    centers = anchors.get_centers().T.reshape(2, *reg.shape[-2:])
    return torch.cat((centers - distances[:, :2], centers + distances[:, 2:]), dim=1)


def decode_deltas(reg: Tensor, scale: Tensor, anchors: Boxes) -> Tensor:
    """Anchor-based decoding: deltas (dx, dy, dw, dh) of the anchor, weighted (10, 10, 5, 5).

    The logarithms dw and dh are clamped to +-log(1000/16), where Detectron2's own
    transform has the upper bound only.

    Args:
        reg: (N, 4, H, W) weighted deltas.
        scale: scalar factor of the deltas.
        anchors: the H*W anchors of the level.
    """
    num_images, _, height, width = reg.shape
    deltas = (scale.float() * reg.float()).permute(0, 2, 3, 1).reshape(-1, 4)
    lowest = -_delta_transform.scale_clamp * deltas.new_tensor(_delta_transform.weights)
    lowest[:2] = -math.inf
    boxes = _delta_transform.apply_deltas(
        torch.maximum(deltas, lowest), anchors.tensor.repeat(num_images, 1)
    )
    return boxes.view(num_images, height, width, 4).permute(0, 3, 1, 2)


def sample_sides(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Reads each side of each box at its own displaced location (Eq. 6 and 8).

    Bilinear; outside the map counts as zero.

    Args:
        boxes: (N, 4, H, W).
        offsets: (N, 8, H, W) displacements in feature cells, a (dy, dx) pair per side.

    Returns:
        (N, 4, H, W): side c at (i, j) is ``boxes[:, c]`` at (i + dy_c, j + dx_c).
    """
    num_images, sides, height, width = boxes.shape
    dy, dx = offsets.float().view(num_images, sides, 2, height, width).unbind(dim=2)
    # All is zero from one cell outside on; the clamp keeps infinity out of the arithmetic.
    y = (dy + torch.arange(height, device=boxes.device)[:, None]).clamp(-2, height + 1)
    x = (dx + torch.arange(width, device=boxes.device)).clamp(-2, width + 1)
    # Cell j is at (2j + 1) / width - 1 for grid_sample without align_corners, which,
    # unlike align_corners=True, is defined for maps of one cell, too.
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    sampled = F.grid_sample(boxes.flatten(0, 1)[:, None], grid.flatten(0, 1), align_corners=False)
    return sampled.view_as(boxes)


def align_boxes(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Box alignment; a box that it turns inside out (x1 > x2 or y1 > y2) stays unaligned.

    The paper and the official code lack the second step. Without it GIoU exceeds its
    range and training derails (open-mmlab/mmdetection#7952).

    Args:
        boxes: (N, 4, H, W).
        offsets: (N, 8, H, W), see :func:`sample_sides`.
    """
    aligned = sample_sides(boxes, offsets)
    crossed = (aligned[:, :2] > aligned[:, 2:]).any(dim=1, keepdim=True)
    return torch.where(crossed, boxes, aligned)
