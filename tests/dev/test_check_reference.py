"""The reference check passes on outputs of the official implementation, and only on those."""

import sys
from pathlib import Path

import numpy as np
import pytest

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


@pytest.fixture
def check(load_script, monkeypatch, capsys):
    """Runs the tool on a folder: exit status, lines of the standard output, standard error."""
    tool = load_script("dev/check_reference.py")

    def _check(folder, *options):
        monkeypatch.setattr(sys, "argv", ["check_reference.py", str(folder), *options])
        status = tool.main()
        output, errors = capsys.readouterr()
        return status, output.splitlines(), errors

    return _check


def copy_case(name, folder, **changes):
    """Copies a case; by the name of an array, what becomes of its largest number."""
    with np.load(REFERENCE / name) as case:
        arrays = dict(case)
    for key, change in changes.items():
        changed = arrays[key].reshape(-1)
        position = np.abs(changed).argmax()
        changed[position] = change(changed[position])
        arrays[key] = changed.reshape(arrays[key].shape)
    number = len(list(folder.iterdir()))
    np.savez(folder / f"{name.partition('_')[0]}_{number}.npz", **arrays)


def test_heads_agree(check, tmp_path):
    for path in REFERENCE.glob("head_*.npz"):
        (tmp_path / path.name).symlink_to(path)
    status, lines, _ = check(tmp_path)
    assert (status, lines[-1]) == (0, "5 of 5 cases agree")


OPTIONS = [["--optimize"], ["--runtime", "onnx"], ["--runtime", "openvino"]]


@pytest.mark.parametrize(
    "options", [[], *(pytest.param(x, marks=pytest.mark.slow) for x in OPTIONS)]
)
def test_model_agrees(check, tmp_path, options):
    copy_case("model_r50_1x.npz", tmp_path)
    status, lines, _ = check(tmp_path, *options)
    assert (status, lines[-1]) == (0, "1 of 1 cases agree")


def test_every_quantity_is_compared(check, tmp_path):
    changes = {
        "cls_score_2": lambda x: x * 1.001,
        "bbox_1": lambda x: np.nan,
        "tal_labels": lambda x: x - 1,
        "tal_alignment": lambda x: x * 1.001,
        "atss_loss_cls": lambda x: x * (1 + 1e-4),
        "tal_loss_bbox": lambda x: x * (1 + 1e-4),
        "tal_grad_norm": lambda x: x * 1.01,
        "det_boxes_1": lambda x: x + 1,
    }
    copy_case("head_empty_gt.npz", tmp_path, **changes)
    status, lines, _ = check(tmp_path)
    names = "scores, boxes, labels, targets, loss_cls, loss_box, grad, detections"
    assert status == 1 and f"FAIL ({names})" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "key, change, quantity",
    [
        ("cls_score_2", lambda x: x * 1.001, "scores"),
        ("bbox_unaligned_0", lambda x: x * 1.001, "boxes"),
        ("bbox_raw_0", lambda x: x * 1.001, "boxes"),
        ("bbox_1", lambda x: np.nan, "boxes"),
        ("atss_labels", lambda x: x - 1, "labels"),
        ("tal_labels", lambda x: x - 1, "labels"),
        ("tal_alignment", lambda x: x * 1.001, "targets"),
        ("atss_loss_cls", lambda x: x * (1 + 1e-4), "loss_cls"),
        ("tal_loss_bbox", lambda x: x * (1 + 1e-4), "loss_box"),
        ("tal_grad_norm", lambda x: x * 1.01, "grad"),
        ("atss_grad_input_0", lambda x: x * 1.01, "grad"),
        ("det_boxes_1", lambda x: x + 1, "detections"),
        ("det_classes_1", lambda x: x - 1, "detections"),
    ],
)
def test_a_changed_number_fails(check, tmp_path, key, change, quantity):
    copy_case("head_empty_gt.npz", tmp_path, **{key: change})
    status, lines, _ = check(tmp_path)
    assert status == 1
    assert f"FAIL ({quantity})" in lines[0] and lines[1] == "0 of 1 cases agree"


def test_a_broken_file_fails_and_others_go_on(check, tmp_path):
    (tmp_path / "head_.npz").write_bytes(b"no archive")
    copy_case("head_empty_gt.npz", tmp_path)
    status, (broken, good, summary), _ = check(tmp_path)
    assert status == 1
    assert "FAIL  cannot be run" in broken and " ok " in good
    assert summary == "1 of 2 cases agree"


def test_a_folder_without_cases_is_an_error(check, tmp_path):
    status, _, errors = check(tmp_path)
    assert status == 2 and f"{tmp_path}: no head_*.npz" in errors
