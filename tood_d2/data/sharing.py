"""Work that one process of each machine does for all of them."""

from collections.abc import Callable
from typing import TypeVar

from detectron2.utils import comm

T = TypeVar("T")


def once_per_machine(function: Callable[[], T]) -> T:
    """What a function returns, called by the first process of each machine only.

    All processes have to call this.
    """
    result = function() if comm.get_local_rank() == 0 else None
    return comm.all_gather(result)[comm.get_rank() - comm.get_local_rank()]
