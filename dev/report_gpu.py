#!/usr/bin/env python
"""Runs the tests that need a GPU and measures the detectors on it.

report_gpu.py output/gpu

Writes gpu.json, with all figures, and gpu.md, with tables, after each step, so that what is done
is kept when time is over. Exits with 1 if a test or a measurement failed.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import torch
from benchmarking.report import format_table

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("tests/modeling/test_cuda.py", "tests/dev/benchmarking/test_measuring.py")

TOOD = "configs/tood_R_50_FPN_1x.py"
OTHERS = ("COCO-Detection/fcos_R_50_FPN_1x.py", "COCO-Detection/retinanet_R_50_FPN_1x.py")
_OPTIMIZED = ("", " --optimize", " --optimize --dtype bfloat16")
_COMPILED = " --optimize --compile --dtype bfloat16"

BENCHMARKS = {
    "inference": [TOOD + x for x in _OPTIMIZED] + [x + y for x in OTHERS for y in _OPTIMIZED[1:]],
    "training": [x + y for x in (TOOD, *OTHERS) for y in ("", " --amp bfloat16")],
    "assignment": [TOOD],
    "compiled inference": [TOOD + _OPTIMIZED[2], TOOD + _COMPILED],  # last, it takes minutes
}
"""The contenders of ``benchmark.py`` by what is measured, whose last word is its command."""

FULL = {"inference": ["--batches", "1", "8", "16"], "training": ["--batches", "2", "8"]}
"""What is swept."""
TINY = {
    "inference": ["--sizes", "64x96", "--batches", "1", "2"],
    "training": ["--sizes", "64x96", "--batches", "1"],
    "assignment": ["--sizes", "64x96", "--objects", "3"],
}
"""The same for a rehearsal."""


def run_tests(folder: Path, seconds: float) -> dict:
    """Runs the tests; gives their numbers, and the names of those that failed."""
    path = folder.resolve() / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={path}"]
    subprocess.run([*command, *TESTS], cwd=ROOT, timeout=seconds)
    (suite,) = ElementTree.parse(path).getroot()
    path.unlink()
    failed = [x.get("name") for x in suite if x.find("failure") is not None]
    counts = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    return counts | {"failed": failed}


def measure(name: str, folder: Path, options: list[str], seconds: float) -> dict:
    """Runs a benchmark; gives its report."""
    path = folder.resolve() / "benchmark.json"
    command = [sys.executable, "dev/benchmark.py", name.split()[-1], *BENCHMARKS[name], *options]
    subprocess.run([*command, "--json", path], cwd=ROOT, timeout=seconds)
    report = json.loads(path.read_text())
    path.unlink()
    return report


def format_report(report: dict) -> str:
    """The report in Markdown."""
    lines = ["# On " + ", ".join(report["machine"].values()), ""]
    for name, step in report["steps"].items():
        lines += [f"## {name}", ""]
        if "error" in step:
            lines += [step["error"], ""]
        elif name == "tests":
            counts = ", ".join(f"{key} {step[key]}" for key in step if key != "failed")
            lines += [counts, "", *(f"- failed: {x}" for x in step["failed"])]
        else:
            if step["results"]:
                lines += [format_table(step["results"], ["size", "batch", "objects"]), ""]
            lines += [f"- {x['contender']} failed: {x['error']}" for x in step["failures"]]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("output", type=Path, help="folder for gpu.json and gpu.md")
    add("--minutes", type=float, default=8.0, help="after which no step goes on (8)")
    add("--rehearse", action="store_true", help="with tiny sizes, on the CPU, too")
    args = parser.parse_args()
    if not (args.rehearse or torch.cuda.is_available()):
        parser.error("there is no GPU: --rehearse runs the same on tiny sizes")
    args.output.mkdir(parents=True, exist_ok=True)
    device, swept = ("cpu", TINY) if args.rehearse else ("cuda", FULL)
    end = time.monotonic() + 60 * args.minutes
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    report = {"machine": {"device": name, "PyTorch": f"PyTorch {torch.__version__}"}, "steps": {}}
    for step in ("tests", *BENCHMARKS):
        if args.rehearse and step.startswith("compiled"):
            continue
        seconds = end - time.monotonic()
        try:
            if seconds <= 0:
                raise TimeoutError("there was no time left")
            if step == "tests":
                result = run_tests(args.output, seconds)
            else:
                options = [*swept.get(step.split()[-1], ()), "--device", device]
                options += ["--rounds", "1" if args.rehearse else "10"]
                result = measure(step, args.output, options, seconds)
        except (OSError, subprocess.TimeoutExpired) as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        report["steps"][step] = result
        (args.output / "gpu.json").write_text(json.dumps(report, indent=1))
        (args.output / "gpu.md").write_text(format_report(report))
    bad = ("error", "failed", "failures", "errors")
    return int(any(step.get(key) for step in report["steps"].values() for key in bad))


if __name__ == "__main__":
    sys.exit(main())
