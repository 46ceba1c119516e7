"""Imports that leave out what is not needed."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from tood_d2.cli.fast_imports import fast_imports

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_as_before(enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), fast_imports():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def run(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_compiler_is_not_imported_to_detect():
    code = """
import sys
from tood_d2.cli.fast_imports import fast_imports
with fast_imports(compiler=False):
    import torch
    from tood_d2.inference import Predictor
    from tood_d2.inference.pictures import Demo
    from tood_d2.config import load_run
run = load_run("configs/tood_R_18_FPN_tiny.py", ["train.init_checkpoint="])
model = run.build_model().eval()
model([{"image": torch.zeros(3, 64, 64)}])
print([x for x in ("torch._dynamo", "torch._dynamo.utils", "sympy") if x in sys.modules])
"""
    assert run(code)[-1] == "[]"


def test_everything_works_afterwards():
    code = """
from tood_d2.cli.fast_imports import fast_imports
import torch
disable = torch.compiler.disable
with fast_imports(compiler=False):
    import torchvision
assert torch.compiler.disable is disable
torch.use_deterministic_algorithms(True)  # torchvision asks the compiler then
image, box = torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 0, 0, 8, 8]])
print(torchvision.ops.roi_align(image, box, 1).item())
import torch._dynamo.utils
print(torch._dynamo.utils.is_compile_supported("cpu"), torch._dynamo.is_compiling())
print(torch.compile(lambda x: x + 1, backend="eager")(image).sum().item())
"""
    assert run(code) == ["1.0", "True", "False", "128.0"]
