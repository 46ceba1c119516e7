from .alignment_figures import (
    ObjectView,
    anchor_generator_of,
    best_anchors,
    choose_level,
    draw_object,
    view_object,
)
from .head_internals import HeadInternals, draw_internals, head_internals

__all__ = [
    "HeadInternals",
    "ObjectView",
    "anchor_generator_of",
    "best_anchors",
    "choose_level",
    "draw_internals",
    "draw_object",
    "head_internals",
    "view_object",
]
