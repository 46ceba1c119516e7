"""Configs of both kinds: loading, the options with their keys, the run made of them."""

from .datasets import register_datasets
from .input_size import fit_input_size
from .keys import add_tood_config
from .loading import as_run, load_config, load_run
from .options import Options, default_options
from .provenance import note_dump
from .run import Run
from .schedule import fit_schedule

__all__ = [
    "Options",
    "Run",
    "add_tood_config",
    "as_run",
    "default_options",
    "fit_input_size",
    "fit_schedule",
    "load_config",
    "load_run",
    "note_dump",
    "register_datasets",
]
