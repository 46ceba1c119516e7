"""Time, memory and floating-point operations of detectors, compared in one run."""

from .comparing import Call, Measurement, compare, num_steps
from .compute import count_flops, matrix_rate
from .contenders import Contender, add_contender_options, load_contenders
from .machine import describe_machine
from .memory import peak_memory
from .report import draw, format_conditions, format_table, format_value, summarize
from .workloads import Point, Workload, build_workloads

__all__ = [
    "Call",
    "Contender",
    "Measurement",
    "Point",
    "Workload",
    "add_contender_options",
    "build_workloads",
    "compare",
    "count_flops",
    "describe_machine",
    "draw",
    "format_conditions",
    "format_table",
    "format_value",
    "load_contenders",
    "matrix_rate",
    "num_steps",
    "peak_memory",
    "summarize",
]
