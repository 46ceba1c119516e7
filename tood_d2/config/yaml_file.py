"""Reading of YAML from strangers: plain values only, in limited numbers."""

import os

import yaml

from detectron2.layers import ShapeSpec
from detectron2.utils.file_io import PathManager

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000  # with those of aliases, each time

# Detectron2's configs of RetinaNet have their anchors' sizes computed.
_RETINANET_SIZES = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"


class _Loader(yaml.SafeLoader):
    """Adds what dumped configs have."""

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


_PYTHON = "tag:yaml.org,2002:python"
_Loader.add_constructor(f"{_PYTHON}/tuple", _Loader.construct_tuple)
_Loader.add_constructor(
    f"{_PYTHON}/object:{ShapeSpec.__module__}.{ShapeSpec.__qualname__}", _Loader.construct_shape
)
_Loader.add_constructor(f"{_PYTHON}/object/apply:eval", _Loader.construct_sizes)


def read_yaml(path: str | os.PathLike) -> dict:
    """Reads a YAML file without constructing objects.

    Args:
        path: of a file that has a mapping, anything that Detectron2's PathManager resolves.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no such file, has other than plain values or more of them than any
            config; names the file and, if it is one, the line.
    """
    path = str(path)
    with PathManager.open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path} is larger than any config")
    try:
        loader = _Loader(data)
        root = loader.get_single_node()
        too_large = root is not None and _count(root, {}) > MAX_VALUES
        content = None if root is None or too_large else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark or error.context_mark).line + 1
        raise ValueError(f"{path}, line {line}: no plain YAML, {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    except (AttributeError, TypeError, ValueError) as error:  # of values of a wrong form
        raise ValueError(f"{path} has an impossible value: {error}") from error
    if too_large:
        raise ValueError(f"{path} has more values than any config")
    if not isinstance(content, dict):
        raise ValueError(f"{path} should have keys and values, has {type(content).__name__}")
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
