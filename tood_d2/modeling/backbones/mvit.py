"""MViTv2 (arXiv 2112.01526) of Detectron2."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from detectron2.modeling.backbone import MViT

from .transformers import layers_of_timm, recompute_in_backward


class MViTBackbone(MViT):
    """MViTv2 as a backbone of FPN; by default MViTv2-T."""

    def __init__(
        self,
        *,
        img_size: int = 224,
        in_channels: int = 3,
        embed_dim: int = 96,
        depth: int = 10,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 7, 9),
        window_size: int = 56,
        drop_path_rate: float = 0.2,
        out_features: Sequence[str] = ("scale3", "scale4", "scale5"),
        checkpoint: bool = False,
    ):
        """
        Args:
            img_size: side in pixels of the images that the relative positions of the weights are
                for; for others they are interpolated.
            in_channels: of the image.
            embed_dim: channels of the first stage; each stage has twice those of the one before.
            depth: blocks in all stages.
            num_heads: heads in the first stage; each stage has twice those of the one before.
            last_block_indexes: index of the last block of each stage. The last blocks but the
                first have attention over the whole image.
            window_size: of the other blocks in the first stage, in patches of 4 pixels; each stage
                has half of the one before.
            drop_path_rate: probability that the last block is left out in training; it rises
                linearly from 0 at the first block.
            out_features: some of "scale2" to "scale5", of strides 4, 8, 16 and 32.
            checkpoint: whether to compute blocks anew in the backward pass, to save memory.

        Raises:
            ValueError: if the package timm is missing.
        """
        with layers_of_timm("MViT"):
            super().__init__(
                img_size=img_size,
                in_chans=in_channels,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                last_block_indexes=tuple(last_block_indexes),
                adaptive_window_size=window_size,
                drop_path_rate=drop_path_rate,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                out_features=tuple(out_features),
            )
        self.in_channels = in_channels
        if checkpoint:
            recompute_in_backward(self.blocks)
