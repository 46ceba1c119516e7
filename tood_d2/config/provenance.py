"""Which dumped configs were written on this machine.

Training with a ``.py`` config of the user's writes a ``config.yaml`` that may call the user's own
classes. The file's digest is kept in the user's cache, so that this very file is trusted later, and
a changed one is not.
"""

import contextlib
import hashlib
import logging
import os

from iopath.common.file_io import get_cache_dir

from detectron2.utils import comm

from .calls import create_lazy_config, foreign_packages
from .run import Run
from .yaml_file import read_yaml

logger = logging.getLogger(__name__)


def note_dump(run: Run) -> None:
    """Says what it takes to use the ``config.yaml`` that was just written for a run.

    To be called after Detectron2's ``default_setup``.
    """
    path = os.path.join(run.options.output_dir, "config.yaml")
    if not comm.is_main_process() or not run.options.output_dir:
        return
    try:
        content = read_yaml(path)
        packages = sorted(foreign_packages(content))
        if "model" in content:
            create_lazy_config(content, path, packages)
    except (OSError, ValueError) as error:
        logger.warning(
            f"{path} cannot be loaded again ({error}). Keep the .py config: evaluation, prediction "
            "and export need it"
        )
        return
    if packages:
        note, here = _note(path), ""
        with contextlib.suppress(OSError):  # a home that cannot be written to
            os.makedirs(os.path.dirname(note), exist_ok=True)
            open(note, "w").close()
            here = "on this machine as it is, elsewhere "
        options = " ".join(f"--trust {package}" for package in packages)
        logger.info(f"{path} calls classes of your own: it can be used {here}with {options}.")


def is_own(path: str) -> bool:
    """Whether a config was written here and has not been changed."""
    return os.path.isfile(_note(path))


def _note(path: str) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return os.path.join(get_cache_dir(), "tood_d2", "own_configs", digest)
