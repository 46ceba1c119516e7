"""Swin Transformer (arXiv 2103.14030): Detectron2's parameters, computed for any size of image.

N images, H x W tokens of C channels, windows of S x S tokens, V windows in an image, A heads.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute
from torchvision.ops import StochasticDepth

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, SwinTransformer
from detectron2.modeling.backbone import swin as detectron2_swin

from .fpn import build_fpn_from_config

STAGES = ("p0", "p1", "p2", "p3")
"""Detectron2's names of the features of strides 4, 8, 16 and 32."""


class WindowAttention(detectron2_swin.WindowAttention):
    """Attention within windows, with a bias for each relative position."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, V, S * S, C).
            mask: (V, S * S, S * S) to be added to the logits.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q, k, v = qkv.unbind(0)  # (N, V, A, S * S, C / A)
        tokens = self.relative_position_index.shape[0]
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        logits = (q * self.scale) @ k.transpose(-2, -1) + bias.view(tokens, tokens, -1).permute(
            2, 0, 1
        )
        if mask is not None:
            logits = logits + mask[:, None]
        x = logits.softmax(dim=-1) @ v
        return self.proj(x.transpose(2, 3).flatten(3))


class SwinBlock(detectron2_swin.SwinTransformerBlock):
    """A block whose windows are counted in whole numbers, so that programs for any size exist."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            x: (N, H, W, C).
            mask: see :func:`shift_mask`.
        """
        x = x + self.drop_path(self._attend(self.norm1(x), mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        num_images, height, width, channels = x.shape
        size, shift = self.window_size, self.shift_size
        rows, columns = num_windows(height, size), num_windows(width, size)
        x = F.pad(x, (0, 0, 0, columns * size - width, 0, rows * size - height))
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        x = x.view(num_images, rows, size, columns, size, channels).transpose(2, 3)
        x = x.reshape(num_images, rows * columns, size * size, channels)
        x = self.attn(x, mask if shift else None)
        x = x.view(num_images, rows, columns, size, size, channels).transpose(2, 3)
        x = x.reshape(num_images, rows * size, columns * size, channels)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]


class SwinStage(detectron2_swin.BasicLayer):
    """Blocks of one resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, C) to the same shape."""
        rows, columns = (num_windows(side, self.window_size) for side in x.shape[1:3])
        mask = shift_mask(rows, columns, self.window_size, self.shift_size, x)
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                x = recompute(block, x, mask, use_reentrant=False)
            else:
                x = block(x, mask)
        return x


class PatchMerging(detectron2_swin.PatchMerging):
    """Halves the resolution and doubles the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, H, W, C) to (N, H / 2, W / 2, 2 * C), rounded up."""
        height, width = x.shape[1:3]
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        num_images, height, width, channels = x.shape
        x = x.reshape(num_images, height // 2, 2, width // 2, 2, channels)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # published weights take column before row
        return self.reduction(self.norm(x))


class SwinBackbone(SwinTransformer):
    """Swin Transformer as a backbone of FPN."""

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        drop_path_rate: float = 0.2,
        out_features: Sequence[str] = ("p1", "p2", "p3"),
        freeze_at: int = 0,
        checkpoint: bool = False,
    ):
        """
        Args:
            in_channels: of the image.
            embed_dim: channels of the first stage; each stage has twice those of the one before.
            depths: blocks of each stage.
            num_heads: heads in each stage.
            window_size: S.
            drop_path_rate: probability that the last block is left out in training; it rises
                linearly from 0 at the first block. Frozen blocks are never left out.
            out_features: of :data:`STAGES`.
            freeze_at: 1 freezes the embedding of patches, 2 to 5 also so many stages less one, 0
                nothing.
            checkpoint: whether to compute blocks anew in the backward pass, to save memory.

        Raises:
            ValueError: on other names of features.
        """
        if not out_features or not set(out_features) <= set(STAGES):
            raise ValueError(
                "model.backbone.bottom_up.out_features or MODEL.TOOD.SWIN.OUT_FEATURES (YAML) "
                f"should be some of {', '.join(STAGES)}, not {', '.join(out_features)}"
            )
        super().__init__(
            in_chans=in_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window_size,
            drop_path_rate=0.0,  # Detectron2's takes timm
            out_indices=[i for i, name in enumerate(STAGES) if name in out_features],
            frozen_stages=freeze_at or -1,
            use_checkpoint=checkpoint,
        )
        self.in_channels = in_channels
        for module in self.modules():
            module.__class__ = _OWN_CLASSES.get(type(module), type(module))  # other forward only
        blocks = [block for stage in self.layers for block in stage.blocks]
        num_frozen = sum(depths[: max(freeze_at - 1, 0)])
        rates = torch.linspace(0, drop_path_rate, len(blocks)).tolist()
        for block, rate in list(zip(blocks, rates, strict=True))[num_frozen:]:
            block.drop_path = StochasticDepth(rate, "row") if rate else nn.Identity()

    @property
    def size_divisibility(self) -> int:
        """Features are then those of whole patches; other sizes are padded inside."""
        return 32

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features by name from images (N, in_channels, height, width)."""
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        features = {}
        for i, stage in enumerate(self.layers[: max(self.out_indices) + 1]):
            x = self.layers[i - 1].downsample(x) if i else x
            x = stage(x)
            if i in self.out_indices:
                features[STAGES[i]] = self.get_submodule(f"norm{i}")(x).permute(0, 3, 1, 2)
        return features


def num_windows(side: int, size: int) -> int:
    """Windows that cover a side of so many tokens."""
    return (side + size - 1) // size


def shift_mask(rows: int, columns: int, size: int, shift: int, like: Tensor) -> Tensor:
    """What keeps tokens from looking at those that a cyclic shift has brought into their window.

    Args:
        rows, columns: of windows.
        size: of a window in tokens.
        shift: in tokens.
        like: gives type and device.

    Returns:
        (rows * columns, size * size, size * size): 0 where a token may look, else -100.
    """

    def parts(number: int) -> Tensor:
        """Along one axis: before the last window, in it, and what comes from the other end."""
        token = torch.arange(number * size, device=like.device)
        return (token >= (number - 1) * size).long() + (token >= number * size - shift)

    region = 3 * parts(rows)[:, None] + parts(columns)
    region = region.view(rows, size, columns, size).transpose(1, 2)
    region = region.reshape(rows * columns, size * size)
    may_look = region[:, None] == region[:, :, None]
    return torch.where(may_look, 0.0, -100.0).to(like.dtype)


_OWN_CLASSES = {
    detectron2_swin.WindowAttention: WindowAttention,
    detectron2_swin.SwinTransformerBlock: SwinBlock,
    detectron2_swin.BasicLayer: SwinStage,
    detectron2_swin.PatchMerging: PatchMerging,
}


@BACKBONE_REGISTRY.register()
def build_tood_swin_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """:class:`SwinBackbone` and :func:`.build_fpn` from a CfgNode."""
    node = cfg.MODEL.TOOD.SWIN
    bottom_up = SwinBackbone(
        in_channels=input_shape.channels,
        embed_dim=node.EMBED_DIM,
        depths=node.DEPTHS,
        num_heads=node.NUM_HEADS,
        window_size=node.WINDOW_SIZE,
        drop_path_rate=node.DROP_PATH_RATE,
        out_features=node.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        checkpoint=node.CHECKPOINT,
    )
    return build_fpn_from_config(cfg, bottom_up)
