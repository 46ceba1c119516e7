"""The reference check passes on outputs of the official implementation, and only on those."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests" / "reference"


def check(folder):
    return subprocess.run(
        [sys.executable, str(ROOT / "dev" / "check_reference.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_every_case_agrees():
    result = check(REFERENCE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "7 of 7 cases agree" in result.stdout


def change_one_number(source, target, key, change):
    with np.load(source) as case:
        arrays = {name: case[name] for name in case.files}
    changed = arrays[key].reshape(-1)
    position = np.abs(changed).argmax()
    changed[position] = change(changed[position])
    arrays[key] = changed.reshape(arrays[key].shape)
    np.savez(target, **arrays)


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
def test_every_quantity_is_compared(tmp_path, key, change, quantity):
    change_one_number(REFERENCE / "head_empty_gt.npz", tmp_path / "head_x.npz", key, change)
    result = check(tmp_path)
    assert result.returncode == 1
    assert f"FAIL ({quantity})" in result.stdout


def test_one_changed_number_and_one_broken_file_fail(tmp_path):
    source = REFERENCE / "head_empty_gt.npz"
    change_one_number(source, tmp_path / "head_changed.npz", "tal_labels", lambda x: x - 1)
    (tmp_path / "head_broken.npz").write_bytes(b"no archive")
    (tmp_path / "head_good.npz").write_bytes(source.read_bytes())
    result = check(tmp_path)
    assert result.returncode == 1
    broken, changed, good, summary = result.stdout.splitlines()
    assert "FAIL  cannot be run" in broken
    assert "FAIL (labels)" in changed and "labels 1.0e+00" in changed
    assert " ok " in good
    assert summary == "1 of 3 cases agree"


def test_no_case(tmp_path):
    assert check(tmp_path).returncode == 2
