"""Small networks of each family of Detectron2's backbones, with 64 channels in each level."""

from tood_d2.modeling import (
    MViTBackbone,
    RegNetBackbone,
    SimplePyramid,
    SwinBackbone,
    ViTBackbone,
    build_fpn,
)


def small_swin(**settings):
    """Windows of 2 x 2 tokens."""
    sizes = {"embed_dim": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 2), "window_size": 2}
    return build_fpn(SwinBackbone(**sizes | settings), out_channels=64)


def small_vit(square_pad=0, **settings):
    """A block with windows of 3 x 3 patches and one with the whole image."""
    sizes = {"img_size": 64, "embed_dim": 8, "depth": 2, "num_heads": 1, "window_size": 3}
    net = ViTBackbone(**sizes | {"global_blocks": (1,)} | settings)
    return SimplePyramid(net, out_channels=64, square_pad=square_pad)


def small_mvit(**settings):
    """Four blocks, the first with windows of 16 x 16 patches of 4 pixels."""
    sizes = {"embed_dim": 8, "depth": 4, "last_block_indexes": (0, 1, 2, 3), "window_size": 16}
    return build_fpn(MViTBackbone(**sizes | settings), out_channels=64)


def small_regnet(**settings):
    """Widths 8 + 8 * i (Eq. 2), each of which is a stage of its own (Eq. 3 and 4)."""
    sizes = {"stem_width": 8, "depth": 4, "w_0": 8, "w_a": 8, "w_m": 1.4, "group_width": 8}
    return build_fpn(RegNetBackbone(**sizes | settings), out_channels=64)
