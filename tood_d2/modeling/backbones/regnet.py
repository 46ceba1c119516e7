"""RegNet (arXiv 2003.13678) of Detectron2, with the names of pycls' weights."""

from collections.abc import Sequence

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, RegNet
from detectron2.modeling.backbone.regnet import (
    ResBottleneckBlock,
    SimpleStem,
    generate_regnet_parameters,
)

from .fpn import build_fpn_from_config
from .resnet import FrozenStatsBatchNorm2d


class RegNetBackbone(RegNet):
    """A RegNetX or, with ``se_ratio``, a RegNetY; by default RegNetX-4.0GF."""

    def __init__(
        self,
        *,
        in_channels: int = 3,
        stem_width: int = 32,
        depth: int = 23,
        w_a: float = 38.65,
        w_0: int = 96,
        w_m: float = 2.43,
        group_width: int = 40,
        se_ratio: float = 0.0,
        norm: str = "FrozenBN",
        out_features: Sequence[str] = ("s2", "s3", "s4"),
        freeze_at: int = 2,
    ):
        """
        Args:
            in_channels: of the image.
            stem_width: channels of the stem.
            depth: blocks in all stages.
            w_a, w_0, w_m: slope and start of the blocks' widths, and the factor between those of
                two stages (Eq. 2 to 4).
            group_width: channels of each group of the 3x3 convolutions.
            se_ratio: channels of squeeze-and-excitation in relation to the block's inputs; 0 for
                none.
            norm: "FrozenStatsBN" or what ``detectron2.layers.get_norm`` knows, see
                :func:`.build_resnet`.
            out_features: some of "s1" to "s4", of strides 4, 8, 16 and 32.
            freeze_at: 1 freezes the stem, 2 to 5 also the stages s1 to s4, 0 nothing.

        Raises:
            ValueError: if there is no such feature; widths that rise less make less stages.
        """
        num_stages = generate_regnet_parameters(w_a, w_0, w_m, depth)[2]
        stages = [f"s{i + 1}" for i in range(num_stages)]
        if not out_features or not set(out_features) <= set(stages):
            raise ValueError(
                "model.backbone.bottom_up.out_features or MODEL.TOOD.REGNET.OUT_FEATURES (YAML) "
                f"should be some of {', '.join(stages)}, the stages that depth {depth} and widths "
                f"by w_0 {w_0}, w_a {w_a} and w_m {w_m} make, not {', '.join(out_features)}"
            )

        def stem(_, *args) -> SimpleStem:  # Detectron2 says 3 channels
            return SimpleStem(in_channels, *args)

        super().__init__(
            stem_class=stem,
            stem_width=stem_width,
            block_class=ResBottleneckBlock,
            depth=depth,
            w_a=w_a,
            w_0=w_0,
            w_m=w_m,
            group_width=group_width,
            se_ratio=se_ratio,
            norm=FrozenStatsBatchNorm2d if norm == "FrozenStatsBN" else norm,
            out_features=list(out_features),
            freeze_at=freeze_at,
        )


@BACKBONE_REGISTRY.register()
def build_tood_regnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """:class:`RegNetBackbone` and :func:`.build_fpn` from a CfgNode."""
    node = cfg.MODEL.TOOD.REGNET
    bottom_up = RegNetBackbone(
        in_channels=input_shape.channels,
        stem_width=node.STEM_WIDTH,
        depth=node.DEPTH,
        w_a=node.W_A,
        w_0=node.W_0,
        w_m=node.W_M,
        group_width=node.GROUP_WIDTH,
        se_ratio=node.SE_RATIO,
        norm=node.NORM,
        out_features=node.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
    return build_fpn_from_config(cfg, bottom_up)
