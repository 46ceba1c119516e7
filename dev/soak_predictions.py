"""Detection in a collection that is killed at random and started again: a part of soak.py."""

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from soak_kills import FINAL, ROOT, Training, run_for
from tabulate import tabulate
from tqdm import tqdm

from tood_d2.batch_prediction.job import ResultFolder
from tood_d2.data.shapes import make_shapes


def predictions(args: argparse.Namespace, folder: Path) -> int:
    """Kills tools/predict.py at random."""
    generator = random.Random(args.seed)
    model = folder / "model"
    Training(folder / "data", iterations=2).run(model)
    make_shapes(folder / "images", num_train=1, num_val=args.images, seed=1)
    command = [sys.executable, str(ROOT / "tools" / "predict.py"), "--shard-size", "4"]
    command += ["--input", str(folder / "images" / "val"), "--config-file"]
    command += [str(model / "config.yaml"), "--opts", f"train.init_checkpoint={model / FINAL}"]

    def predict(output: Path, seconds: float | None = None) -> bool:
        program = [*command[:2], "--output", str(output), *command[2:]]
        return run_for(program, output.with_suffix(".txt"), seconds)

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
