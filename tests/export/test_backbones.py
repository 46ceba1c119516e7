"""Export of detectors on Detectron2's transformers and on RegNet."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_backbones import small_mvit, small_regnet, small_swin, small_vit
from torch import nn

from tood_d2.config import load_run
from tood_d2.export.exporting import compare_candidates, read_metadata
from tood_d2.export.onnx_export import export_candidates, export_program, finish_onnx
from tood_d2.inference.runtimes.onnx_runtime import ONNXDetector
from tood_d2.modeling import SwinBackbone

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIZES = ((32, 32), (96, 160), (224, 64))


def randomize(model):
    """Makes scores differ from place to place, and positions matter."""
    nn.init.normal_(model.head.cls_logits.weight, std=0.2)
    for name, parameter in model.backbone.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.slow
def test_swin_is_one_program_for_all_sizes():
    """With and without padding to windows of 3 x 3 tokens.

    The guards of ``torch.export`` are left out: they ask for the memory layout of the example.
    """
    sizes = {"embed_dim": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 3}
    swin = SwinBackbone(**sizes).eval()
    sides = {i + 2: 32 * torch.export.Dim(name, max=99) for i, name in enumerate(("h", "w"))}
    shapes = {"x": {0: torch.export.Dim("n"), **sides}}
    with torch.no_grad():
        program = torch.export.export(
            swin, (torch.zeros(2, 3, 288, 416),), dynamic_shapes=shapes, strict=False
        ).module(check_guards=False)
        for number, size in zip((1, 3, 2), SIZES, strict=True):
            images = torch.rand(number, 3, *size)
            for name, feature in swin(images).items():
                torch.testing.assert_close(program(images)[name], feature)


@pytest.mark.slow
@pytest.mark.parametrize("build", [small_swin, small_regnet])
def test_onnx_agrees_at_any_size(build, tiny_tood, exported_tood):
    model = randomize(tiny_tood(backbone=build()))
    metadata = replace(exported_tood.metadata, has_nms=False)
    content = finish_onnx(export_candidates(model), metadata).SerializeToString()
    for size in SIZES:
        for number in (1, 3):
            assert max(compare_candidates(ONNXDetector(content), model, size, number)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("build", [small_vit, small_mvit])
def test_onnx_agrees_in_a_square(build, tiny_tood, exported_tood):
    model = randomize(tiny_tood(backbone=build()))
    metadata = replace(exported_tood.metadata, size_divisibility=96, max_size=96, has_nms=False)
    assert metadata.square == 96
    content = finish_onnx(export_candidates(model, 96), metadata).SerializeToString()
    detector = ONNXDetector(content)
    for number in (1, 3):
        assert max(compare_candidates(detector, model, (96, 96), number)) < 1e-4
    # Whatever fits in is padded to it.
    with torch.no_grad():
        (result,) = detector([{"image": torch.zeros(3, 70, 50)}])
    assert result["instances"].image_size == (70, 50)


@pytest.mark.parametrize("build", [small_vit, small_mvit])
def test_one_size_has_to_be_given(build, tiny_tood):
    message = "Backbone can be exported for inputs of one size only: .* by --square"
    with pytest.raises(ValueError, match=message):
        export_program(tiny_tood(backbone=build()).eval())


def test_squares_of_metadata(tiny_tood):
    """Test images of tood_R_18_FPN_small have up to 400 pixels."""
    run = load_run(str(CONFIGS / "tood_R_18_FPN_small.py"))
    model = tiny_tood()
    assert read_metadata(run, model, has_nms=True).square == 0
    found = read_metadata(run, model, has_nms=True, square=416)
    assert (found.square, found.size_divisibility, found.max_size) == (416, 416, 400)
    message = r"multiple of 32 and at least .* 400 \(dataloader.*INPUT.MAX_SIZE_TEST.* not {}"
    for wrong in (410, 384):
        with pytest.raises(ValueError, match=message.format(wrong)):
            read_metadata(run, model, has_nms=True, square=wrong)
    padded = tiny_tood(backbone=small_vit(square_pad=512))
    assert read_metadata(run, padded, has_nms=True).square == 512
