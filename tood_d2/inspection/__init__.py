from .alignment_evaluator import AlignmentEvaluator
from .alignment_figures import (
    ObjectView,
    anchor_generator_of,
    best_anchors,
    choose_level,
    draw_object,
    view_object,
)
from .head_internals import HeadInternals, draw_internals, head_internals
from .head_maps import (
    LevelMaps,
    Location,
    draw_location,
    draw_map,
    level_maps,
    picture_scale,
    view_location,
)
from .image_analysis import HeadPictures, ImageAnalysis

__all__ = [
    "AlignmentEvaluator",
    "HeadInternals",
    "HeadPictures",
    "ImageAnalysis",
    "LevelMaps",
    "Location",
    "ObjectView",
    "anchor_generator_of",
    "best_anchors",
    "choose_level",
    "draw_internals",
    "draw_location",
    "draw_map",
    "draw_object",
    "head_internals",
    "level_maps",
    "picture_scale",
    "view_location",
    "view_object",
]
