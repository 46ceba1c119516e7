"""Checkpoints of training that know their classes and survive what may happen to a run."""

import logging
import os

from torch import Tensor, nn

from .checkpointer import SafeCheckpointer
from .files import AtomicFiles, BackgroundFiles
from .recovery import NOT_RESUMED, LastCheckpoint, check_classes, load_last_checkpoint

logger = logging.getLogger(__name__)

# Layers with an output per class, in TOOD and in Detectron2's FCOS.
_CLASS_LAYERS = ("cls_logits", "cls_score")


class TrainingCheckpointer(SafeCheckpointer):
    """Saves the class names and the seed, and matches the classes of what is fine-tuned.

    Where the names of a checkpoint and of the model differ, a class that both have keeps its
    weights, wherever it stands in the two lists. The weights of other classes stay as they
    were initialised, as do layers of another shape; both are logged.

    Files are written whole or not at all, so that there is always one to resume from.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str,
        class_names: list[str],
        seed: int = -1,
        background: bool = False,
        **kwargs,
    ):
        """
        Args:
            model, save_dir, kwargs: see ``DetectionCheckpointer``.
            class_names: of the model's K classes, in their order; empty if they are not known.
            seed: of the run, -1 if there is none.
            background: write files while the caller goes on, who has to call :meth:`flush` in the
                end.
        """
        super().__init__(model, save_dir, **kwargs)
        self.path_manager = BackgroundFiles() if background else AtomicFiles()
        self._tagged = ""
        self.class_names, self.seed = list(class_names), seed
        self.last: LastCheckpoint | None = None
        """To resume from, if it has been read already; :meth:`resume_or_load` empties it."""

    def save(self, name: str, **kwargs) -> None:
        super().save(name, class_names=self.class_names, seed=self.seed, **kwargs)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        super().tag_last_checkpoint(last_filename_basename)
        self._tagged = last_filename_basename

    def get_checkpoint_file(self) -> str:
        if self._tagged:  # which may not have been written yet
            return os.path.join(self.save_dir, self._tagged)
        return super().get_checkpoint_file()

    def flush(self) -> None:
        """Waits until all files are written.

        Raises:
            OSError: if one cannot be.
        """
        self.path_manager.flush()

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """See ``Checkpointer`` and :func:`load_last_checkpoint`.

        Raises:
            ValueError: if the checkpoint to resume from is of another model, or other classes.
        """
        if resume:
            self.last = self.last or load_last_checkpoint(self.save_dir)
        if self.last is None:
            return self.load(path, checkpointables=[])
        try:
            return self.load(self.last.path)
        finally:
            self.last = None  # its content takes memory

    def _load_file(self, filename: str) -> dict:
        if self.last and filename == self.last.path:
            return self.last.content
        return super()._load_file(filename)

    def _load_model(self, checkpoint: dict):
        names = checkpoint.get("class_names")
        if self.last:
            check_classes(self.last, self.class_names)
        elif names and self.class_names and names != self.class_names:
            self._match_classes(checkpoint["model"], names)
        incompatible = super()._load_model(checkpoint)
        if self.last and (misfit := self.misfit()):
            raise ValueError(f"{self.last.path} is of another model ({misfit}): {NOT_RESUMED}")
        return incompatible

    def _match_classes(self, weights: dict[str, Tensor], names: list[str]) -> None:
        """Replaces the class layers in ``weights`` by those of the model, with known classes."""
        kept = [x for x in self.class_names if x in names]
        new = [x for x in self.class_names if x not in names]
        rows = [self.class_names.index(x) for x in kept]
        old_rows = [names.index(x) for x in kept]
        for name, own in self.model.state_dict().items():
            layer = name.rpartition(".")[0].rpartition(".")[2]
            if name in weights and layer in _CLASS_LAYERS:
                old, rest = weights[name], own.shape[1:]
                if len(own) == len(self.class_names) and old.shape == (len(names), *rest):
                    merged = own.cpu().clone()
                    merged[rows] = old[old_rows].to(merged.dtype)
                    weights[name] = merged
        logger.info(
            f"Classes whose weights are kept: {', '.join(kept) or 'none'}. "
            f"New classes, initialised: {', '.join(new) or 'none'}."
        )


class WeightsCheckpointer(TrainingCheckpointer):
    """Saves weights that training does not resume from."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Leaves ``last_checkpoint`` to the checkpoints that hold the state of training."""
