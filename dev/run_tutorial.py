#!/usr/bin/env python
"""Runs demo/tutorial.ipynb from top to bottom and writes it back with its pictures alone."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "demo" / "tutorial.ipynb"
PICTURES = ("image/jpeg", "image/png")


def execute(notebook: NotebookNode, folder: str | Path) -> None:
    """Runs all cells in this Python, with this checkout, and leaves their outputs in the notebook.

    Args:
        folder: existing, to start in.

    Raises:
        nbclient.exceptions.CellExecutionError: with the message of the cell that fails.
    """
    with TemporaryDirectory(prefix="tutorial-") as scratch:
        # Where the checkout is not installed, there is no other command.
        command = Path(scratch, "tood")
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tood_d2 "$@"\n')
        command.chmod(0o755)
        # Beside other programs, threads that wait for each other would take minutes.
        environment = {"OMP_NUM_THREADS": "1"} | os.environ
        environment |= {
            "IPYTHONDIR": scratch,
            "JUPYTER_CONFIG_DIR": scratch,
            "JUPYTER_DATA_DIR": scratch,
            "JUPYTER_RUNTIME_DIR": scratch,
            "PATH": os.pathsep.join([scratch, os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        environment.pop("MPLBACKEND", None)  # pictures go into the notebook
        kernel = AsyncKernelManager(
            transport="ipc",
            connection_file=str(Path(scratch, "kernel.json")),
            # Without folders of installed kernels, there is only that of this Python.
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        )
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, kernel, resources=resources, record_timing=False)
        client.execute(env=environment, cleanup_kc=True)


def pictures(notebook: NotebookNode) -> list[NotebookNode]:
    """The outputs that are pictures, with nothing beside them, in the order of the cells."""
    return [
        picture
        for cell in notebook.cells
        if cell.cell_type == "code"
        for picture in _pictures(cell)
    ]


def _pictures(cell: NotebookNode) -> list[NotebookNode]:
    return [
        nbformat.v4.new_output("display_data", {form: output.data[form]})
        for output in cell.outputs
        for form in PICTURES
        if form in output.get("data", {})
    ]


def keep_pictures(notebook: NotebookNode) -> None:
    """Removes all that running has added, except pictures."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = _pictures(cell), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="to run in, kept afterwards (default: a temporary one)")
    args = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with TemporaryDirectory(prefix="tutorial-") as scratch:
        if args.folder:
            os.makedirs(args.folder, exist_ok=True)
        execute(notebook, args.folder or scratch)
    keep_pictures(notebook)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK}: {len(pictures(notebook))} pictures, {NOTEBOOK.stat().st_size} bytes")


if __name__ == "__main__":
    main()
