"""What a Detectron2 project needs to use TOOD, from a folder of its own."""

import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

SCRIPT = """
import sys
sys.modules["detectron2._C"] = None  # cannot be imported
import numpy as np
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor
from tood_d2 import add_tood_config
cfg = get_cfg()
add_tood_config(cfg)
cfg.merge_from_file({config!r})
cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TEST", 64])
instances = DefaultPredictor(cfg)(np.zeros((48, 64, 3), np.uint8))["instances"]
print(sorted(instances.get_fields()), instances.image_size)
import tood_d2.engine, tood_d2.checkpoint
"""


def test_default_predictor_runs_without_detectron2s_compiled_part(tmp_path):
    script = tmp_path / "other.py"
    script.write_text(SCRIPT.format(config=str(CONFIGS / "tood_R_50_FPN_1x.yaml")))
    result = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert "['pred_boxes', 'pred_classes', 'scores'] (48, 64)" in result.stdout
