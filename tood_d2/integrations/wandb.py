"""Training that is followed in Weights & Biases."""

import atexit
import sys

from detectron2.utils.events import EventWriter

from ..cli.requirements import check_wandb
from ..config.run import Run


class WandbWriter(EventWriter):
    """Begins a run of Weights & Biases, which gets what TensorBoard does, and ends it.

    It has to be made before, and closed after, the writer to TensorBoard.
    """

    def __init__(self, run: Run):
        """
        Args:
            run: its options, by the user's keys, and its whole config are logged.

        Raises:
            MissingRequirement: if the package is not installed.
            ConnectionError: if Weights & Biases refuses or cannot be reached.
        """
        key, project = run.key("wandb_project"), run.options.wandb_project
        check_wandb(key)
        import wandb

        try:
            self._run = wandb.init(
                project=project,
                dir=run.options.output_dir,
                config=run.named_options() | {"config": run.dump()},
                sync_tensorboard=True,
            )
        except wandb.errors.Error as error:
            reason = str(error).splitlines()[0]
            raise ConnectionError(
                f"{key}={project}: {reason} (WANDB_MODE=offline logs without a connection)"
            ) from error
        atexit.register(self._run.finish, 1)  # if it has not been closed

    def write(self) -> None:
        """Nothing, as TensorBoard's events are taken."""

    def close(self) -> None:
        """Ends the run, as failed if an exception is on its way."""
        atexit.unregister(self._run.finish)
        # wandb itself sees an exit status only if it is given to ``sys.exit``.
        error = sys.exc_info()[1]
        code = error.code if isinstance(error, SystemExit) else None
        self._run.finish(code or int(isinstance(error, (Exception, KeyboardInterrupt))))
