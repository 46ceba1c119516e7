"""Plain ViT with a simple feature pyramid (ViTDet, arXiv 2203.16527) for TOOD's levels."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from detectron2.modeling import Backbone
from detectron2.modeling.backbone import SimpleFeaturePyramid, ViT

from .fpn import TopLevels
from .transformers import layers_of_timm, recompute_in_backward


class ViTBackbone(ViT):
    """ViTDet's ViT: attention within windows, but in some blocks over the whole image.

    It takes images of any size whose sides are multiples of ``patch_size``.
    """

    def __init__(
        self,
        *,
        img_size: int = 1024,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        window_size: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        drop_path_rate: float = 0.1,
        pretrain_img_size: int = 224,
        checkpoint: bool = False,
    ):
        """
        Args:
            img_size: side in pixels of the images that relative positions are learned for; for
                others they are interpolated.
            patch_size: in pixels.
            in_channels: of the image.
            embed_dim: channels of all blocks.
            depth: number of blocks.
            num_heads: heads in each block.
            window_size: in patches.
            global_blocks: indices of the blocks with attention over the whole image.
            drop_path_rate: probability that the last block is left out in training; it rises
                linearly from 0 at the first block.
            pretrain_img_size: side in pixels of the images that the absolute positions of the
                weights are for; they are interpolated.
            checkpoint: whether to compute blocks anew in the backward pass, to save memory.

        Raises:
            ValueError: if the package timm is missing.
        """
        with layers_of_timm("ViT"):
            super().__init__(
                img_size=img_size,
                patch_size=patch_size,
                in_chans=in_channels,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                drop_path_rate=drop_path_rate,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=window_size,
                window_block_indexes=[i for i in range(depth) if i not in global_blocks],
                pretrain_img_size=pretrain_img_size,
            )
        if checkpoint:
            recompute_in_backward(self.blocks)


class SimplePyramid(SimpleFeaturePyramid):
    """P3 to P7 of the one feature of stride 16 that a plain backbone has.

    P3, P4 and P5 are made of it as in ViTDet (Sec. 3), which also has P2 and only pools P5 to get
    P6. P6 and P7 are TOOD's: two strided convolutions with no ReLU between.
    """

    def __init__(
        self, net: Backbone, out_channels: int = 256, norm: str = "LN", square_pad: int = 0
    ):
        """
        Args:
            net: backbone with one feature of stride 16.
            out_channels: of every level.
            norm: of the convolutions of P3 to P5, see ``detectron2.layers.get_norm``.
            square_pad: side in pixels of the square that images are padded to, or to a multiple of
                it if they are larger; 0 pads them to multiples of 32.
        """
        (in_feature,) = net.output_shape()
        super().__init__(
            net,
            in_feature,
            out_channels,
            scale_factors=(2.0, 1.0, 0.5),
            top_block=TopLevels(out_channels, out_channels),
            norm=norm,
        )
        self._size_divisibility = square_pad or 32

    @property
    def size_divisibility(self) -> int:
        """Multiple in pixels that images are padded to."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """None but :attr:`size_divisibility`; Detectron2 would crop images beyond its square."""
        return {}
