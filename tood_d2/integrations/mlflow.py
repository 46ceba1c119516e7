"""Training that is followed in MLflow."""

import atexit
import logging
import os
import posixpath
import re
import sys
import time
from pathlib import Path

from detectron2.utils.events import EventWriter, get_event_storage

from ..cli.requirements import check_mlflow
from ..config.run import Run
from ..inference.trained_models import CONFIG, WEIGHTS

MODEL = "model"
"""Artefacts of a run that :func:`.find_trained_model` takes, once they are downloaded."""
RUN_ID = "mlflow_run_id"
"""File in the output folder, for a resumed training to go on with the same run."""
WINDOW = 20
"""Iterations over which losses are smoothed, as in Detectron2's other writers."""
MIN_PAUSE = 60.0
"""Seconds before a server that failed is asked again."""

logger = logging.getLogger(__name__)


class MLflowWriter(EventWriter):
    """Logs options, config, scalars and at last the model to a run of MLflow.

    ``MLFLOW_TRACKING_URI`` tells MLflow where that is. If it fails in the course of training, what
    is to be logged is kept and tried again from time to time, and training goes on.
    """

    def __init__(self, run: Run, resume: bool):
        """
        Args:
            run: that is trained.
            resume: whether to go on with the run in the output folder, if there is one.

        Raises:
            MissingRequirement: if the package is not installed.
            ConnectionError: if MLflow refuses or cannot be reached.
        """
        key, experiment = run.key("mlflow_experiment"), run.options.mlflow_experiment
        check_mlflow(key)
        # MLflow's own patience is several minutes, in which training would stand still.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        import mlflow

        self._folder = Path(run.options.output_dir)
        self._last_write, self._pause_end = -1, 0.0
        self._unsent: list[mlflow.entities.Metric] = []
        try:
            self._client = mlflow.MlflowClient()
            self._run_id = (self._known_run() if resume else None) or self._new_run(run)
            self._client.update_run(self._run_id, "RUNNING")
            self._log_files(CONFIG)
        except Exception as error:  # of any store
            raise ConnectionError(
                f"{key}={experiment}: MLflow at {mlflow.get_tracking_uri()} fails "
                f"({_reason(error)}): set MLFLOW_TRACKING_URI, or leave out {key}"
            ) from error
        atexit.register(self._end, "FAILED")  # if it has not been closed
        logger.info(f"MLflow: run {self._run_id} at {mlflow.get_tracking_uri()}")

    def _known_run(self) -> str | None:
        """The run that the output folder names, None if it is gone."""
        from mlflow.exceptions import MlflowException

        path = self._folder / RUN_ID
        if not path.is_file():
            return None
        run_id = path.read_text().strip()
        try:
            if self._client.get_run(run_id).info.lifecycle_stage == "active":
                return run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        logger.warning(f"MLflow has no run {run_id}, which {path} names: a new one begins")
        return None

    def _new_run(self, run: Run) -> str:
        import mlflow
        from mlflow.entities import Param

        experiment_id = mlflow.set_experiment(run.options.mlflow_experiment).experiment_id
        name = self._folder.resolve().name
        run_id = self._client.create_run(experiment_id, run_name=name).info.run_id
        params = [Param(key, str(value)) for key, value in run.named_options().items()]
        self._client.log_batch(run_id, params=params)
        (self._folder / RUN_ID).write_text(f"{run_id}\n")
        return run_id

    def _log_files(self, *names: str) -> None:
        """Makes files of the output folder, as far as they are there, artefacts of the model."""
        for path in filter(Path.is_file, map(self._folder.joinpath, names)):
            self._client.log_artifact(self._run_id, str(path), MODEL)

    def write(self) -> None:
        from mlflow.entities import Metric

        storage, now = get_event_storage(), int(1000 * time.time())
        scalars = storage.latest_with_smoothing_hint(WINDOW)
        new = {x: pair for x, pair in scalars.items() if pair[1] > self._last_write}
        self._unsent += [Metric(_valid(x), value, now, step) for x, (value, step) in new.items()]
        self._last_write = max([self._last_write, *(step for _, step in new.values())])
        if time.monotonic() >= self._pause_end:
            self._send()

    def _send(self) -> None:
        start = time.monotonic()
        try:
            self._client.log_batch(self._run_id, self._unsent)
        except Exception as error:  # of any store
            if not self._pause_end:
                logger.warning(f"MLflow fails, training goes on without it: {_reason(error)}")
            now = time.monotonic()
            self._pause_end = now + max(MIN_PAUSE, 10 * (now - start))
        else:
            if self._pause_end:
                logger.info("MLflow works again and has all that it missed")
            self._unsent, self._pause_end = [], 0.0

    def close(self) -> None:
        """Ends the run: as failed or killed if an exception is on its way, else with the model."""
        error = sys.exc_info()[1]
        status = "FAILED" if isinstance(error, Exception) else "FINISHED"
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            status = "KILLED"
        self._end(status)

    def _end(self, status: str) -> None:
        atexit.unregister(self._end)
        try:
            self._client.log_batch(self._run_id, self._unsent)
            if status == "FINISHED":
                self._log_files(*WEIGHTS)
            self._client.set_terminated(self._run_id, status)
        except Exception as error:  # of any store
            logger.warning(
                f"MLflow fails, so its run {self._run_id} is not complete ({_reason(error)}); "
                f"{self._folder} has the metrics and the model"
            )


def _valid(name: str) -> str:
    """The name of a scalar, in which classes may have characters that MLflow refuses."""
    name = re.sub(r"[^\w\-. :/]", "_", name)[:250]
    return name if posixpath.normpath(name) == name else name.replace("/", "_")


def _reason(error: BaseException) -> str:
    """What went wrong first: the rest is a chain of packages that pass it on."""
    while error.__context__:
        error = error.__context__
    return (str(error) or type(error).__name__).splitlines()[0]
