"""Overrides of a config on the command line: ``key=value``, or ``KEY value`` for YAML.

Text, such as a path, is taken as it stands, whatever characters it has. Other values follow Hydra's
grammar in a LazyConfig, and Python's in a YAML config.
"""

import csv
import difflib
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detectron2.config import CfgNode

from .options import Options, all_options, keys_of

_OPTIONS = {key: (keys, default) for _, keys, default in all_options() for key in keys if key}
_TEXT = {key for x in fields(Options) if x.type is str for key in x.metadata["keys"] if key}
_CLASS_NAMES = keys_of("class_names")
_KEY = re.compile(r"\+{0,2}([\w-]+(?:\.[\w-]+|\[\d+\])*)")


def override_lazy(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Applies overrides to a LazyConfig in place, one after the other.

    Args:
        cfg: to be changed.
        overrides: ``["key=value", ...]``.

    Returns:
        The keys, with the values that the config had.

    Raises:
        ValueError: if an override is malformed, its key unknown, or its value of another kind
            than the one in the config. Names the key, and says how to quote text.
    """
    overridden: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        match = _KEY.fullmatch(name)
        if not equals or not match:
            raise ValueError(f"override {override!r} should have the form key=value")
        key = match[1].replace("[", ".").replace("]", "")
        _check_lazy_key(cfg, key)
        old = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
        try:
            OmegaConf.update(cfg, key, _read_lazy(key, text, old), merge=True)
            value = OmegaConf.select(cfg, key)  # fails if it refers to nothing
        except (OmegaConfBaseException, IndexError, TypeError) as error:
            text = str(error).partition("\n")[0]
            raise ValueError(f"override {override!r}: {text}") from error
        _check_kind(key, value, list(old) if isinstance(old, ListConfig) else old)
        overridden.setdefault(key, old)
    return overridden


def override_yaml(cfg: CfgNode, overrides: Sequence[str]) -> dict[str, Any]:
    """The same for a CfgNode, whose overrides may also be ``["KEY", "value", ...]``."""
    overridden: dict[str, Any] = {}
    for key, text in _pairs(overrides):
        *folders, name = key.split(".")
        node = cfg
        for folder in folders:
            inner = node.get(folder)
            if not isinstance(inner, CfgNode):
                raise _unknown_key(key, folder, node)
            node = inner
        if name not in node:
            raise _unknown_key(key, name, node)
        overridden.setdefault(key, node[name])
        node[name] = _read_yaml(key, text, node[name])
    return overridden


def escape_references(text: str) -> str:
    """Text whose ``${`` OmegaConf leaves as it is, instead of referring to another value."""
    return re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + r"\${", text)


def _pairs(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    items = iter(map(str, overrides))
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            text = next(items, None)
        if text is None or not _KEY.fullmatch(key):
            raise ValueError(f"override {item!r} should have the form KEY value, or KEY=value")
        yield key, text


def _check_lazy_key(cfg: DictConfig, key: str) -> None:
    """LazyConfig would accept a misspelt key and ignore it."""
    if key == "model.head.num_classes":
        raise ValueError("model.head.num_classes follows model.num_classes: set that instead")
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if key in _OPTIONS and key.startswith("train.") and isinstance(cfg.get("train"), DictConfig):
        return  # of a config that an earlier version wrote, too
    # A call may take arguments that the config does not mention.
    if isinstance(node, DictConfig) and (name in node or "_target_" in node):
        return
    if isinstance(node, ListConfig) and name.isdecimal() and int(name) < len(node):
        return
    raise _unknown_key(key, name, node if isinstance(node, DictConfig) else cfg)


def _unknown_key(key: str, name: str, known: Iterable) -> ValueError:
    names = [str(x) for x in known]
    if key in _OPTIONS:
        hint = f", the keys of the two kinds of config are {_OPTIONS[key][0]}"
    elif close := difflib.get_close_matches(name, names, n=3):
        hint = f", did you mean {' or '.join(close)}?"
    else:
        hint = f"; known: {', '.join(names)}"
    return ValueError(f"unknown key {key!r}{hint}")


def _read_text(text: str, default: str | None = None) -> str:
    """Text, or a path, as the shell passed it.

    Only where it does not name a file that is there, quotes around it are removed, ``~`` becomes
    the user's folder, and ``null`` and ``None`` are empty if that is the default.
    """
    if os.path.lexists(text):
        return text
    if text in ("null", "None") and default == "":
        return ""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return os.path.expanduser(text)


def _read_class_names(text: str) -> list[str]:
    """Names between commas, as they stand: ``no`` and ``2024`` are names, too."""
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    quote = "'" if text.lstrip()[:1] == "'" else '"'
    names = [
        x.strip() for x in next(csv.reader([text], quotechar=quote, skipinitialspace=True), [])
    ]
    return names[:-1] if names[-1:] == [""] else names  # of Python's ('cat',)


def _read_lazy(key: str, text: str, old: Any) -> Any:
    if key in _CLASS_NAMES:
        return _read_class_names(text)
    if key in _TEXT:
        return escape_references(_read_text(text, _OPTIONS[key][1]))
    if isinstance(old, str) and text != "null" and text[:1] not in ("[", "{"):
        return escape_references(_read_text(text))
    quoted = shlex.quote(f"{key}='{text}'" if '"' in text else f'{key}="{text}"')
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except (HydraException, RecursionError) as error:
        raise ValueError(f"{key}={text}: no such value; if it is text, write {quoted}") from error
    if override.is_sweep_override():
        raise ValueError(f"{key}={text}: should be one value; a list is [{text}], text {quoted}")
    value = override.value()
    if isinstance(old, DictConfig) and not isinstance(value, dict | None):
        raise ValueError(f"{key} is a group of keys ({', '.join(map(str, old))}), not {text!r}")
    return value


def _read_yaml(key: str, text: str, old: Any) -> Any:
    if isinstance(old, CfgNode):
        raise ValueError(f"{key} is a group of keys ({', '.join(old)}), not {text!r}")
    if key in _CLASS_NAMES:
        return _read_class_names(text)
    if key in _TEXT:
        return _read_text(text, _OPTIONS[key][1])
    if isinstance(old, str):
        return None if text == "None" else _read_text(text)
    try:
        value = CfgNode._decode_cfg_value(text)
    except (MemoryError, RecursionError, TypeError) as error:  # of what is no literal
        raise ValueError(f"{key} should be as {old!r}, not {text[:100]!r}") from error
    _check_kind(key, value, old)
    if isinstance(old, float) and isinstance(value, int):
        value = float(value)
    if isinstance(old, list | tuple) and isinstance(value, list | tuple):
        value = type(old)(value)
    if None not in (old, value) and not isinstance(value, type(old)):
        raise ValueError(f"{key} should be as {old!r}, not {text!r}")
    return value


def _check_kind(key: str, value: Any, old: Any) -> None:
    """Compares a value with the one that it replaces; :class:`Options` checks its own further."""
    rule = ""
    if value is None and key in _OPTIONS and _OPTIONS[key][1] is not None:
        rule = f"should be like {_OPTIONS[key][1]!r}"
    elif isinstance(value, float) and not math.isfinite(value):
        rule = "should be finite"
    elif isinstance(old, bool) and isinstance(value, str):
        rule = "should be True or False"
    elif _is_number(old) and isinstance(value, str | bool):
        rule = "should be a number"
    elif isinstance(old, list | tuple) and old and all(map(_is_number, old)):
        rule = "should be numbers" if isinstance(value, str | bool) else ""
    if rule:
        raise ValueError(f"{key} {rule}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
