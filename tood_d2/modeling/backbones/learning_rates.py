"""Learning rates of a backbone's parameters, relative to the rest of the model.

Each is for ``lr_factor_func`` of Detectron2's ``get_default_optimizer_params``.
"""

from dataclasses import dataclass

from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate

BOTTOM_UP = "backbone.bottom_up."
"""What the names of a backbone's parameters begin with; those of its FPN begin otherwise."""


@dataclass(frozen=True)
class BackboneFactor:
    """One factor for all of a backbone below its FPN.

    A backbone with weights of ImageNet forgets what it knows of classes at learning rates that suit
    a head with random weights.
    """

    factor: float

    def __call__(self, name: str) -> float:
        """Factor of the learning rate of a parameter of the model; 1 outside of the backbone."""
        return self.factor if name.startswith(BOTTOM_UP) else 1.0


@dataclass(frozen=True)
class LayerDecay:
    """Learning rates that fall from the last block of a :class:`.ViTBackbone` to its first."""

    rate: float
    """Of a block's learning rate to that of the next one."""
    depth: int
    """Number of blocks."""

    def __call__(self, name: str) -> float:
        """Factor of the learning rate of a parameter of the model; 1 outside of the backbone."""
        return get_vit_lr_decay_rate(name, self.rate, self.depth)
