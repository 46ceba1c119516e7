"""Detection in a collection that is killed at random and started again: a part of soak.py."""

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from soak_kills import FINAL, ROOT, Training, run_for
from tabulate import tabulate
from tqdm import tqdm

from tood_d2.batch_prediction.job import ResultFolder
from tood_d2.data.shapes import make_shapes


class Detection:
    """Runs of tools/predict.py in processes of their own, with a tiny model."""

    def __init__(self, folder: Path, num_images: int, options: Sequence[str] = ()):
        """
        Args:
            folder: for the model and the images, which are made here.
            num_images: to detect in.
            options: of the model.
        """
        model = folder / "model"
        Training(folder / "data", iterations=2).run(model)
        make_shapes(folder / "images", num_train=1, num_val=num_images, seed=1)
        self.images = str(folder / "images" / "val")
        self.model = ["--config-file", str(model / "config.yaml"), "--opts", *options]
        self.model.append(f"train.init_checkpoint={model / FINAL}")

    def command(self, output: Path, *arguments: str) -> list[str]:
        """What to run to detect in all images."""
        program = [sys.executable, str(ROOT / "tools" / "predict.py"), "--input", self.images]
        return [*program, "--output", str(output), "--shard-size", "4", *arguments, *self.model]


def predictions(args: argparse.Namespace, folder: Path) -> int:
    """Kills tools/predict.py at random."""
    generator = random.Random(args.seed)
    detection = Detection(folder, args.images)

    def predict(output: Path, seconds: float | None = None) -> bool:
        return run_for(detection.command(output), output.with_suffix(".txt"), seconds)

    start = time.monotonic()
    predict(folder / "whole")
    length = time.monotonic() - start
    expected = [*ResultFolder(str(folder / "whole")).rows()]

    counts: Counter = Counter()
    with tqdm(total=args.kills, unit="kill", disable=None) as progress:
        while counts["kills"] < args.kills:
            counts["runs"] += 1
            output = folder / f"run{counts['runs']}"
            while True:
                is_last = counts["kills"] == args.kills
                if predict(output, None if is_last else generator.uniform(0, length)):
                    break
                counts["kills"] += 1
                counts["kills with some shards"] += any(output.glob("shard-*"))
                progress.update()
            equal = [*ResultFolder(str(output)).rows()] == expected
            counts["equal" if equal else "not equal"] += 1
            shutil.rmtree(output)
    names = ["runs", "kills", "kills with some shards", "equal", "not equal"]
    print(tabulate([[name, counts[name]] for name in names]))
    return 1 if counts["not equal"] else 0
