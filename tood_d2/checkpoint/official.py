"""Names in weights of the official code (fcjian/TOOD), of MMDetection's TOOD and of torchvision."""

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

STYLES = ("official", "mmdet")

# Of MobileNet, EfficientNet, ConvNeXt, DenseNet and VGG; RegNet; MNASNet; ShuffleNet; GoogLeNet.
_TORCHVISION_BODIES = ("features.", "trunk_output.", "layers.", "stage2.", "inception3a.")


def _rules() -> Iterator[tuple[str, ...]]:
    """Module names by :data:`STYLES`, or one for both, and here; ``*`` is an index all share."""

    own = "backbone.bottom_up"
    yield "backbone.conv1", f"{own}.stem.conv1"
    yield "backbone.bn1", f"{own}.stem.conv1.norm"
    for stage in range(1, 5):
        block, own_block = f"backbone.layer{stage}.*", f"{own}.res{stage + 1}.*"
        for conv in ("1", "2", "3"):
            yield f"{block}.conv{conv}", f"{own_block}.conv{conv}"
            yield f"{block}.bn{conv}", f"{own_block}.conv{conv}.norm"
        yield f"{block}.conv2.conv_offset", f"{own_block}.conv2.conv_offset"
        yield f"{block}.downsample.0", f"{own_block}.shortcut"
        yield f"{block}.downsample.1", f"{own_block}.shortcut.norm"
    for i in range(3):
        yield f"neck.lateral_convs.{i}.conv", f"backbone.fpn_lateral{i + 3}"
        yield f"neck.fpn_convs.{i}.conv", f"backbone.fpn_output{i + 3}"
    yield "neck.fpn_convs.3.conv", "backbone.top_block.p6"
    yield "neck.fpn_convs.4.conv", "backbone.top_block.p7"

    head = "bbox_head"
    yield f"{head}.inter_convs.*.conv", "head.inter_convs.*"
    yield f"{head}.inter_convs.*.conv.conv_offset", "head.inter_convs.*.conv_offset"
    yield f"{head}.inter_convs.*.gn", "head.inter_convs.*.norm"
    for task, own_task in (("cls", "cls"), ("reg", "box")):
        decomp, own_decomp = f"{head}.{task}_decomp", f"head.{own_task}_decomposition"
        for conv, i in ((1, 0), (2, 2)):
            attention = f"layer_attention.{i}"
            yield f"{decomp}.la_conv{conv}", f"{decomp}.{attention}", f"{own_decomp}.{attention}"
        yield f"{decomp}.reduction_conv.conv", f"{own_decomp}.reduction"
        yield f"{decomp}.reduction_conv.gn", f"{own_decomp}.reduction.norm"
    yield f"{head}.tood_cls", "head.cls_logits"
    yield f"{head}.tood_reg", "head.box_reg"
    for name, own_name in (("cls_prob", "cls_alignment"), ("reg_offset", "box_alignment")):
        for conv, i in ((1, 0), (2, 2)):
            yield f"{head}.{name}_conv{conv}", f"{head}.{name}_module.{i}", f"head.{own_name}.{i}"
    yield f"{head}.scales.*.scale", "head.scales.*"


def _rename(
    state_dict: Mapping[str, Tensor], modules: Iterable[tuple[str, str]], kind: str
) -> dict[str, Tensor]:
    """Renames tensors by the names of their modules, which come in pairs of old and new."""
    patterns = [
        (re.compile(re.escape(old).replace(r"\*", r"(\d+)") + r"(\.[a-z_]+)?"), new)
        for old, new in modules
    ]
    renamed, unknown = {}, []
    for name, tensor in state_dict.items():
        for pattern, new in patterns:
            if match := pattern.fullmatch(name):
                *indices, own = match.groups(default="")
                for index in indices:
                    new = new.replace("*", index, 1)
                renamed[new + own] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"not parameters of {kind}: {', '.join(unknown)}")
    return renamed


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a TOOD of fcjian/TOOD or MMDetection to those of ours.

    Counters of batches (``num_batches_tracked``) are left out: the statistics of these models are
    fixed. The rest loads with ``strict=True``.

    Raises:
        ValueError: names the tensors that are not a TOOD model's.
    """
    state_dict = {k: v for k, v in state_dict.items() if not k.endswith(".num_batches_tracked")}
    modules = ((name, own) for *names, own in _rules() for name in names)
    return _rename(state_dict, modules, "an official TOOD model")


def convert_torchvision_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a classifier of torchvision to those of TOOD's backbone.

    The official models call those of a ResNet as torchvision does, after "backbone."; the
    classifier ``fc`` is left out. Those of other networks are for a :class:`.TorchvisionBackbone`.

    Raises:
        ValueError: names the tensors that are not a ResNet's.
    """
    if any(name.startswith(_TORCHVISION_BODIES) for name in state_dict):
        return {f"backbone.bottom_up.body.{k}": v for k, v in state_dict.items()}
    body = {f"backbone.{k}": v for k, v in state_dict.items() if not k.startswith("fc.")}
    return convert_official_state_dict(body)


def recognize(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Recognises by their names where weights come from, and gives them this project's names.

    Raises:
        ValueError: names the tensors that are of no known model.
    """
    if any(name.startswith("head.") or ".bottom_up." in name for name in state_dict):
        return state_dict
    bodies = ("layer1.0.conv1.", *_TORCHVISION_BODIES)
    if any(name.startswith(bodies) for name in state_dict):
        return convert_torchvision_state_dict(state_dict)
    return convert_official_state_dict(state_dict)


def convert_to_official_state_dict(
    state_dict: Mapping[str, Tensor], style: str = "official"
) -> dict[str, Tensor]:
    """The inverse of :func:`convert_official_state_dict`.

    Args:
        state_dict: of a :class:`tood_d2.TOOD`.
        style: whose names to use, "official" (fcjian/TOOD) or "mmdet" (MMDetection).

    Returns:
        The same tensors, and a zero ``num_batches_tracked`` for each batch norm.

    Raises:
        ValueError: names the tensors that have no official counterpart.
    """
    position = -STYLES.index(style)  # the first name or the last, which may be the same
    modules = ((own, names[position]) for *names, own in _rules())
    converted = _rename(state_dict, modules, "a TOOD on ResNet-FPN")
    norms = [name.rpartition(".")[0] for name in converted if name.endswith(".running_var")]
    return converted | {f"{norm}.num_batches_tracked": torch.tensor(0) for norm in norms}
