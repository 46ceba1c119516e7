"""Detectron2's checkpointer for files from strangers."""

import os
from urllib.parse import urlparse

from fvcore.common.checkpoint import Checkpointer

from detectron2.checkpoint import DetectionCheckpointer

from .backbone_weights import place_in_detector
from .file import check_state_dict, read_checkpoint
from .recovery import tagged_name


class SafeCheckpointer(DetectionCheckpointer):
    """Loads the files that Detectron2 loads, without executing anything in them.

    Files are refused with a ``ValueError`` that names them.
    """

    incompatible = None
    """What did not fit when weights were last loaded, see ``Checkpointer._load_model``."""

    def load(self, path: str, *args, **kwargs) -> dict:
        if not path or not os.path.isfile(path):
            return super().load(path, *args, **kwargs)
        # The path of a file is no address, though it may look like one, say by a question mark.
        self._parsed_url_during_load = urlparse("")
        try:
            return Checkpointer.load(self, path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None

    def get_checkpoint_file(self) -> str:
        name = tagged_name(self.save_dir)
        return os.path.join(self.save_dir, name) if name else ""

    def _load_file(self, filename: str) -> dict:
        try:
            if filename.endswith((".pkl", ".pyth")):
                checkpoint = _adapt(read_checkpoint(filename), is_pycls=filename.endswith(".pyth"))
            else:
                checkpoint = super()._load_file(filename)
            check_state_dict(checkpoint["model"])
            if checkpoint.get("__author__") != "Caffe2":  # whose names are not Detectron2's
                placed = place_in_detector(checkpoint["model"], self.model.state_dict())
                if placed is not None:
                    checkpoint |= {"model": placed, "matching_heuristics": False}
        except ValueError as error:
            raise ValueError(f"{filename}: {error}") from error
        return checkpoint

    def _torch_load(self, filename: str) -> dict:
        return read_checkpoint(filename)

    def _load_model(self, checkpoint: dict):
        self.incompatible = super()._load_model(checkpoint)
        return self.incompatible

    def misfit(self) -> str:
        """What did not fit when weights were last loaded, "" if every parameter was there."""
        misshapen = [name for name, *_ in self.incompatible.incorrect_shapes]
        missing = [name for name in self.incompatible.missing_keys if name not in misshapen]
        faults = []
        for fault, names in (("missing", missing), ("of another shape", misshapen)):
            if names:
                rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
                faults.append(f"{fault}: {', '.join(names[:5])}{rest}")
        return ", ".join(faults)


def _adapt(content: dict, is_pycls: bool) -> dict:
    """What ``DetectionCheckpointer`` makes of files of pycls, and of ``.pkl`` files."""
    if is_pycls:
        if "model_state" not in content:
            raise ValueError("has no 'model_state', which checkpoints of pycls have")
        weights, author, left_out = content["model_state"], "pycls", "num_batches_tracked"
    elif "model" in content and "__author__" in content:  # of Detectron2's zoo
        return content
    else:  # Detectron's detectors have "blobs"
        weights, author, left_out = content.get("blobs", content), "Caffe2", "_momentum"
    check_state_dict(weights)
    weights = {name: x for name, x in weights.items() if not name.endswith(left_out)}
    return {"model": weights, "__author__": author, "matching_heuristics": True}
