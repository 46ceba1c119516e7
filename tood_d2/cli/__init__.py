from .processes import launch

__all__ = [
    "launch",
]
