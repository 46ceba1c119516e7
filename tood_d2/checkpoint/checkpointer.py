"""Detectron2's checkpointer for files from strangers."""

from detectron2.checkpoint import DetectionCheckpointer

from .file import check_state_dict, read_checkpoint


class SafeCheckpointer(DetectionCheckpointer):
    """Loads the files that Detectron2 loads, without executing anything in them.

    Files are refused with a ``ValueError`` that names them.
    """

    incompatible = None
    """What did not fit when weights were last loaded, see ``Checkpointer._load_model``."""

    def _load_file(self, filename: str) -> dict:
        try:
            if filename.endswith(".pkl"):
                checkpoint = _from_pickle(read_checkpoint(filename))
            elif filename.endswith(".pyth"):
                checkpoint = _from_pycls(read_checkpoint(filename))
            else:
                checkpoint = super()._load_file(filename)
            check_state_dict(checkpoint["model"])
        except ValueError as error:
            raise ValueError(f"{filename}: {error}") from error
        return checkpoint

    def _torch_load(self, filename: str) -> dict:
        return read_checkpoint(filename)

    def _load_model(self, checkpoint: dict):
        self.incompatible = super()._load_model(checkpoint)
        return self.incompatible


def _from_pickle(content: dict) -> dict:
    if "model" in content and "__author__" in content:  # Detectron2's zoo
        return content
    # Caffe2's and Detectron's, whose detectors have "blobs".
    return _matched_by_name(content.get("blobs", content), "Caffe2", "_momentum")


def _from_pycls(content: dict) -> dict:
    if "model_state" not in content:
        raise ValueError("has no 'model_state', which checkpoints of pycls have")
    return _matched_by_name(content["model_state"], "pycls", "num_batches_tracked")


def _matched_by_name(state_dict: dict, author: str, left_out: str) -> dict:
    check_state_dict(state_dict)
    state_dict = {name: x for name, x in state_dict.items() if not name.endswith(left_out)}
    return {"model": state_dict, "__author__": author, "matching_heuristics": True}
