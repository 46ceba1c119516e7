"""Training beside a server, in a process of its own."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config import Run

logger = logging.getLogger(__name__)

CONSOLE = "console.txt"  # what training prints, in its output folder
_OTHER_DATA = ("train_json", "train_images", "test_json", "test_images")


def training_overrides(run: Run, source: os.PathLike, output: os.PathLike) -> list[str]:
    """The overrides that train a run on another data set, see :func:`.with_source`."""
    values = {"source": source, "output_dir": output} | dict.fromkeys(_OTHER_DATA, "")
    return [f"{run.key(option)}={value}" for option, value in values.items()]


class FineTuning:
    """Fine-tunes models one after the other, each in a folder of its own.

    Attributes:
        folder: for the trainings.
    """

    def __init__(self, folder: str | os.PathLike, run: Run, arguments: Sequence[str]):
        """
        Args:
            folder: see above.
            run: that is trained; tells the keys of the options to set.
            arguments: of ``tood train``, the overrides last.
        """
        self.folder, self.run, self.arguments = Path(folder), run, list(arguments)
        self._busy = threading.Lock()
        self._process: subprocess.Popen | None = None

    def start(
        self, name: str, export: Callable[[Path], object], use: Callable[[Path], object]
    ) -> Path | None:
        """Starts to train, and returns.

        Args:
            name: of the data; each training gets the next folder of this name.
            export: called with a new folder, to fill it with data in any form that ``tood train``
                takes.
            use: called with the output folder once the model is trained. An error of this function,
                as one of the export or of training, is logged.

        Returns:
            The output folder; None if another training is under way, and nothing was started.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            output = _next_folder(self.folder, name)
            work = threading.Thread(target=self._work, args=(output, export, use), daemon=True)
            work.start()
        except BaseException:
            self._busy.release()
            raise
        return output

    def stop(self) -> None:
        """Ends a training that is under way."""
        if self._process is not None:
            self._process.terminate()

    def _work(self, output: Path, export: Callable, use: Callable) -> None:
        try:
            data = output / "export"
            data.mkdir()
            export(data)
            self._train(data, output)
            use(output)
        except Exception as error:  # of any kind: the server goes on with the model that it has
            logger.error(f"{output}: no new model, {error}")
        finally:
            self._busy.release()

    def _train(self, data: Path, output: Path) -> None:
        overrides = training_overrides(self.run, data, output)
        command = [sys.executable, "-m", "tood_d2", "train", *self.arguments, *overrides]
        logger.info(f"{output}: training starts, {CONSOLE} tells how it goes")
        with open(output / CONSOLE, "w") as console:
            self._process = subprocess.Popen(command, stdout=console, stderr=subprocess.STDOUT)
            status = self._process.wait()
        if status != 0:
            lines = (output / CONSOLE).read_text(errors="replace").split("\n")
            last = next(filter(None, map(str.strip, reversed(lines))), "it printed nothing")
            raise ChildProcessError(f"training ended with status {status}: {last}")


def _next_folder(folder: Path, name: str) -> Path:
    """Makes the next one of ``name_1``, ``name_2`` and so on."""
    number = 1
    while True:
        try:
            (path := folder / f"{name}_{number}").mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path
