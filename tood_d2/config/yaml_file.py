"""Reading of YAML configs: plain values only, in limited numbers."""

import io
import os
from typing import IO

import yaml

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.file_io import PathManager

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000  # with those of aliases, each time
_TOO_MANY = "more values than any config has"

# Detectron2's configs of RetinaNet have the sizes of their anchors computed.
_RETINANET_SIZES = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"


class _Loader(yaml.SafeLoader):
    """Adds what dumped configs hold, and stops at more values than they have."""

    num_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: yaml.Node | int | None) -> yaml.Node:
        self.num_nodes += 1
        if self.num_nodes > MAX_VALUES:
            raise ValueError(_TOO_MANY)
        return super().compose_node(parent, index)

    def construct_tuple(self, node: yaml.SequenceNode) -> tuple:
        return tuple(self.construct_sequence(node, deep=True))

    def construct_shape(self, node: yaml.MappingNode) -> ShapeSpec:
        sizes = self.construct_mapping(node)
        if not all(isinstance(x, int | None) for x in sizes.values()):
            raise ValueError(f"a shape of {sizes}")
        return ShapeSpec(**sizes)

    def construct_sizes(self, node: yaml.SequenceNode) -> list[list[float]]:
        if self.construct_sequence(node) != [_RETINANET_SIZES]:
            mark = node.start_mark
            raise yaml.constructor.ConstructorError(None, None, "it has a Python expression", mark)
        return [[x * 2 ** (i / 3) for i in range(3)] for x in (32, 64, 128, 256, 512)]

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        if ":" in self.construct_scalar(node):  # which takes PyYAML quadratic time
            problem = f"{node.value[:20]} is a number in base 60; text needs quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        is_int = node.tag.endswith("int")
        return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)
_PYTHON = "tag:yaml.org,2002:python"
_Loader.add_constructor(f"{_PYTHON}/tuple", _Loader.construct_tuple)
_Loader.add_constructor(
    f"{_PYTHON}/object:{ShapeSpec.__module__}.{ShapeSpec.__qualname__}", _Loader.construct_shape
)
_Loader.add_constructor(f"{_PYTHON}/object/apply:eval", _Loader.construct_sizes)


def read_yaml(path: str | os.PathLike) -> dict:
    """Reads a YAML file without constructing objects.

    Args:
        path: of a file that holds a mapping, anything that Detectron2's PathManager resolves.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no such file, or holds other than plain values or more of them than
            any config does. Names the file and, if it is one, the line.
    """
    path = str(path)
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError(f"{path}: no such file")
    with PathManager.open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path} is larger than any config")
    try:
        loader = _Loader(data)
        root = loader.get_single_node()
        if root is not None and _count(root, {}) > MAX_VALUES:
            raise ValueError(_TOO_MANY)
        content = loader.construct_document(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark or error.context_mark).line + 1
        raise ValueError(f"{path}, line {line}: no plain YAML, {error.problem}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply, or has itself for a base") from error
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a YAML config: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold keys and values, not {type(content).__name__}")
    return content


def _count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Number of values with those that aliases repeat."""
    if node not in known:
        known[node] = MAX_VALUES + 1  # for an alias to a node within itself
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [x for pair in children for x in pair]
        known[node] = 1 + sum(_count(x, known) for x in children)
    return known[node]


class PlainCfgNode(CfgNode):
    """Reads files and their bases as fvcore does, but each of them by :func:`read_yaml`."""

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        return io.StringIO(yaml.safe_dump(read_yaml(filename)))
