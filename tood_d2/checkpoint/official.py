"""Weights of the official implementation (fcjian/TOOD) and of MMDetection's TOOD."""

import pickle
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def _rules() -> Iterator[tuple[str, str]]:
    """Pairs of official and own module names; ``*`` stands for an index that both share."""
    backbone, own = "backbone", "backbone.bottom_up"
    yield f"{backbone}.conv1", f"{own}.stem.conv1"
    yield f"{backbone}.bn1", f"{own}.stem.conv1.norm"
    for stage in range(1, 5):
        block, own_block = f"{backbone}.layer{stage}.*", f"{own}.res{stage + 1}.*"
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
        yield f"{decomp}.la_conv1", f"{own_decomp}.layer_attention.0"
        yield f"{decomp}.la_conv2", f"{own_decomp}.layer_attention.2"
        yield f"{decomp}.layer_attention.*", f"{own_decomp}.layer_attention.*"  # MMDetection
        yield f"{decomp}.reduction_conv.conv", f"{own_decomp}.reduction"
        yield f"{decomp}.reduction_conv.gn", f"{own_decomp}.reduction.norm"
    yield f"{head}.tood_cls", "head.cls_logits"
    yield f"{head}.tood_reg", "head.box_reg"
    for name, own_name in (("cls_prob", "cls_alignment"), ("reg_offset", "box_alignment")):
        yield f"{head}.{name}_conv1", f"head.{own_name}.0"
        yield f"{head}.{name}_conv2", f"head.{own_name}.2"
        yield f"{head}.{name}_module.*", f"head.{own_name}.*"  # MMDetection
    yield f"{head}.scales.*.scale", "head.scales.*"


def _pattern(template: str) -> re.Pattern:
    """Matches the names of a module's tensors: indices first, then the tensor's own name."""
    return re.compile(re.escape(template).replace(r"\*", r"(\d+)") + r"(\.\w+)?")


_PATTERNS = [(_pattern(official), own) for official, own in _rules()]


def _convert_name(name: str) -> str | None:
    for pattern, own in _PATTERNS:
        if match := pattern.fullmatch(name):
            *indices, tensor = match.groups(default="")
            for index in indices:
                own = own.replace("*", index, 1)
            return own + tensor
    return None


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of an official or MMDetection TOOD.

    Args:
        state_dict: by the names of fcjian/TOOD or of MMDetection.

    Returns:
        The same tensors by the names of :class:`tood_d2.TOOD`, to load with
        ``strict=True``. Counters of batches (``num_batches_tracked``) are left out: the
        statistics of these models are fixed.

    Raises:
        ValueError: names the tensors that are not a TOOD model's.
    """
    converted, unknown = {}, []
    for name, tensor in state_dict.items():
        if name.endswith(".num_batches_tracked"):
            continue
        own_name = _convert_name(name)
        if own_name is None:
            unknown.append(name)
        else:
            converted[own_name] = tensor
    if unknown:
        raise ValueError(f"not parameters of an official TOOD model: {', '.join(unknown)}")
    return converted


def load_official_checkpoint(path: str) -> dict[str, Tensor]:
    """Reads a checkpoint file of the official code or MMDetection and converts it.

    No code of the file is executed (``weights_only``).

    Args:
        path: of the file; either a state dict or a dict that holds it as "state_dict".

    Returns:
        See :func:`convert_official_state_dict`.

    Raises:
        ValueError: if the file is no such checkpoint or holds other objects than tensors
            and plain types.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is no checkpoint, or holds objects other than tensors and plain types, which "
            "are not loaded for safety. If you trust it, save its 'state_dict' to a file of its own"
        ) from error
    state_dict = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    tensors = {name: x for name, x in state_dict.items() if isinstance(x, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no state dict")
    try:
        return convert_official_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
