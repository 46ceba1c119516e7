"""Exported models agree with the one that they are made of."""

import io
import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from detectron2.layers import batched_nms
from tood_d2.export.candidates import CandidateDetector, Candidates
from tood_d2.export.exporting import compare_candidates, random_batch, same_detections
from tood_d2.export.onnx_export import export_candidates, finish_onnx
from tood_d2.export.quantization import quantize
from tood_d2.inference.runtimes import ExportedPredictor
from tood_d2.inference.runtimes.metadata import Metadata
from tood_d2.inference.runtimes.onnx_runtime import ONNXDetector

SIZES, BATCHES = ((32, 32), (96, 160), (128, 96)), (1, 3)


@pytest.fixture(scope="module")
def model(exported_tood):
    return exported_tood.model


@pytest.fixture(scope="module")
def metadata(exported_tood):
    return exported_tood.metadata


@pytest.fixture(scope="module")
def candidates(exported_tood):
    return exported_tood.candidates


@pytest.fixture(scope="module")
def onnx_file(candidates, metadata, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(finish_onnx(candidates, metadata).SerializeToString())
    return path


@pytest.fixture(scope="module")
def without_nms(candidates, metadata, tmp_path_factory):
    path = tmp_path_factory.mktemp("candidates") / "model.onnx"
    metadata = replace(metadata, has_nms=False)
    path.write_bytes(finish_onnx(candidates, metadata).SerializeToString())
    return ONNXDetector(str(path))


def test_candidates_agree_for_all_sizes_and_batches(without_nms, model):
    for size, number in itertools.product(SIZES, BATCHES):
        assert max(compare_candidates(without_nms, model, size, number)) < 1e-4


def test_comparison_sees_a_difference(without_nms, model):
    bias = model.head.box_reg.bias
    with torch.no_grad():
        bias[0] += 0.01
        scores, boxes = compare_candidates(without_nms, model, SIZES[1], 1)
        bias[0] -= 0.01
    assert boxes > 1e-3 and scores < 1e-4


def test_candidates_are_the_best_of_each_level(model):
    images, image_sizes = random_batch(2, (64, 96))
    detector = CandidateDetector(model)
    with torch.no_grad():
        found = Candidates(*detector(images, image_sizes))
        scores, boxes = detector.predict(images, image_sizes)
    topk = model.test_topk_candidates
    assert found.boxes.shape == (2, 2 * topk, 4)
    # Pairs of 3 classes with 8 x 12 locations, and with 4 x 6.
    for level, num_pairs in enumerate((8 * 12 * 3, 4 * 6 * 3)):
        place = slice(level * topk, (level + 1) * topk)
        best = scores[level][1].flatten().sort(descending=True).values[:topk]
        kept = min(topk, num_pairs)
        assert torch.equal(found.scores[1, place][:kept], best[:kept])
        assert (found.scores[1, place][kept:] == 0).all()
        locations = found.locations[1, place][:kept]
        assert locations.min() >= level * 8 * 12 and locations.max() < 8 * 12 + level * 4 * 6
    # The first image is 52 x 77 pixels without its padding.
    assert found.boxes[0, :, 2].max() <= 77 and found.boxes[0, :, 3].max() <= 52


def test_padding_is_ignored(model):
    images, image_sizes = random_batch(1, (64, 96))
    other = images.clone()
    other[:, :, image_sizes[0, 0] :] = 255
    detector = CandidateDetector(model)
    with torch.no_grad():
        results = [detector(x, image_sizes) for x in (images, other)]
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_nms_selects_what_torchvision_selects(onnx_file, without_nms):
    with_nms = ONNXDetector(str(onnx_file))
    for size in SIZES:
        inputs = random_batch(3, size)
        boxes, scores, classes, _ = without_nms.run(*inputs)
        found = with_nms.run(*inputs)
        assert found[0].shape == (3, 100, 4)
        for i in range(3):
            kept = torch.nonzero(scores[i] > with_nms.metadata.score_thresh)[:, 0]
            best = batched_nms(boxes[i][kept], scores[i][kept], classes[i][kept], 0.6)[:100]
            kept = kept[best]
            assert len(kept) > 0
            assert torch.equal(found[1][i][: len(kept)], scores[i][kept])
            assert torch.equal(found[0][i][: len(kept)], boxes[i][kept])
            assert torch.equal(found[2][i][: len(kept)], classes[i][kept])
            assert (found[1][i][len(kept) :] == 0).all()


@pytest.mark.parametrize("kind", ["with NMS", "without"])
def test_detections_are_those_of_the_model(kind, onnx_file, without_nms, model):
    detector = ONNXDetector(str(onnx_file)) if kind == "with NMS" else without_nms
    generator = torch.Generator().manual_seed(1)
    batch = [
        {"image": torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8)}
        for h, w in ((70, 90), (50, 120))
    ]
    batch[1] |= {"height": 100, "width": 240}
    with torch.no_grad():
        expected = model(batch)
    for one, other in zip(detector(batch), expected, strict=True):
        found, wanted = one["instances"], other["instances"]
        assert len(found) == len(wanted) > 0 and found.image_size == wanted.image_size
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-6)
        assert torch.equal(found.pred_classes, wanted.pred_classes)
        torch.testing.assert_close(
            found.pred_boxes.tensor, wanted.pred_boxes.tensor, rtol=1e-4, atol=1e-2
        )


def test_predictor_resizes_and_detects_as_detectron2s_does(onnx_file):
    predictor = ExportedPredictor(str(onnx_file))
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    sample = predictor.batched_input(image)
    # Resized to 96 x 128 and RGB, as it is.
    assert sample["image"].shape == (3, 96, 128)
    assert sample["image"][0].float().mean().item() == pytest.approx(image[..., 0].mean(), abs=1)
    (expected,) = predictor.detect([image])
    found = predictor(image[..., ::-1])["instances"]  # BGR
    assert found.image_size == (60, 80) and torch.equal(found.scores, expected.scores)


def test_file_is_valid_and_holds_the_metadata(onnx_file, metadata):
    content = onnx.load(str(onnx_file))
    onnx.checker.check_model(content, full_check=True)
    properties = {x.key: x.value for x in content.metadata_props}
    assert Metadata.from_properties(properties) == metadata
    assert [x.version for x in content.opset_import if x.domain == ""] == [20]
    assert content.ir_version == 9  # ONNX 1.15, whose opset is 20


@pytest.mark.parametrize("kind", ["with NMS", "without"])
@pytest.mark.parametrize("number", BATCHES)
def test_images_with_nothing_in_them_give_no_detection(
    kind, number, onnx_file, without_nms, monkeypatch
):
    detector = ONNXDetector(str(onnx_file)) if kind == "with NMS" else without_nms
    monkeypatch.setattr(detector, "metadata", replace(detector.metadata, score_thresh=0.99))
    results = detector([{"image": torch.zeros(3, 64, 96, dtype=torch.uint8)}] * number)
    assert [len(x["instances"]) for x in results] == [0] * number


def test_nothing_above_the_threshold_that_is_in_the_file(candidates, metadata):
    content = finish_onnx(candidates, replace(metadata, score_thresh=0.99))
    detector = ONNXDetector(content.SerializeToString())
    boxes, scores, classes = detector.run(torch.zeros(3, 3, 64, 96), torch.tensor([[64, 96]] * 3))
    assert boxes.shape == (3, 100, 4) and scores.shape == classes.shape == (3, 100)
    assert not scores.any()


@pytest.fixture(scope="module")
def grey(tiny_tood):
    """A model of grey images and one class, and what is exported of it."""
    settings = {"pixel_mean": [128.0], "pixel_std": [50.0], "test_score_thresh": 0.001}
    model = tiny_tood(strides=(8, 16), num_classes=1, **settings).eval()
    model.backbone.convs[0] = nn.Conv2d(1, 64, 8, 8)
    return model, export_candidates(model)


def test_models_of_grey_images_and_one_class_agree(grey, metadata):
    model, candidates = grey
    changes = {"class_names": ["owl"], "input_format": "L", "score_thresh": 0.001}
    content = finish_onnx(candidates, replace(metadata, **changes, has_nms=False))
    without_nms = ONNXDetector(content.SerializeToString())
    assert max(compare_candidates(without_nms, model, (64, 96), 2)) < 1e-4
    content = finish_onnx(candidates, replace(metadata, **changes))
    detector = ONNXDetector(content.SerializeToString())
    assert detector.num_channels == 1
    assert same_detections(detector, without_nms, (64, 96), 2)


def test_int8_models_can_be_read_by_old_runtimes(grey, metadata, tmp_path):
    path, small = str(tmp_path / "model.onnx"), str(tmp_path / "small.onnx")
    changes = {"class_names": ["owl"], "input_format": "L", "score_thresh": 0.99}
    onnx.save(finish_onnx(grey[1], replace(metadata, **changes)), path)
    image = torch.randint(256, (1, 64, 96), dtype=torch.uint8)
    quantize(path, small, [{"image": image}], 32)
    content = onnx.load(small)
    onnx.checker.check_model(content)
    assert [(x.domain, x.version) for x in content.opset_import] == [("", 20)]
    assert content.ir_version == 9
    (result,) = ONNXDetector(small)([{"image": image}])
    assert len(result["instances"]) == 0


def test_files_that_are_no_such_model_are_refused(tmp_path, candidates):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.onnx: "):
        ONNXDetector(str(tmp_path / "text.onnx"))
    (tmp_path / "other.onnx").write_bytes(candidates.SerializeToString())
    with pytest.raises(ValueError, match=r"other\.onnx: .*no class_names"):
        ONNXDetector(str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match="nowhere"):
        ONNXDetector(str(tmp_path / "nowhere.onnx"))


def test_saved_program_agrees_with_the_model(exported_tood, model):
    file = io.BytesIO()
    torch.export.save(exported_tood.program, file)
    file.seek(0)
    program = torch.export.load(file).module()
    inputs = random_batch(3, (96, 64))
    with torch.no_grad():
        expected = CandidateDetector(model)(*inputs)
        found = program(*inputs)
    for one, other in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2)
