"""ONNX files that runtimes take which are older than the packages that made them."""

import onnx
from onnx import ModelProto


def allow_old_runtimes(model: ModelProto) -> None:
    """Lowers the file's version to that of its operators, and forgets those that it has not.

    Runtimes refuse versions that are newer than themselves, needed or not.

    Args:
        model: changed in place; has no functions.
    """
    domains = {node.domain for node in model.graph.node}
    used = [opset for opset in model.opset_import if opset.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(used)
    model.ir_version = onnx.helper.find_min_ir_version_for(used, ignore_unknown=True)
