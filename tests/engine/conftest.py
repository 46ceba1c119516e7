"""What the tests of the engine share."""

import logging

import pytest

from detectron2.engine import TrainerBase


class Steps(TrainerBase):
    """A trainer whose steps do nothing; that of iteration ``fails_at`` fails."""

    def __init__(self, *hooks, fails_at=None):
        super().__init__()
        self.fails_at = fails_at
        self.register_hooks(hooks)

    def run_step(self):
        if self.iter == self.fails_at:
            raise RuntimeError("as intended")


@pytest.fixture(scope="session")
def steps():
    """The class :class:`Steps`."""
    return Steps


@pytest.fixture
def log(caplog, monkeypatch):
    """What the project logs, also after Detectron2's ``setup_logger``."""
    monkeypatch.setattr(logging.getLogger("tood_d2"), "propagate", True)
    caplog.set_level(logging.INFO, "tood_d2")
    return caplog
