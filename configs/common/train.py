"""Training options of LazyConfig, in Detectron2's form; docs/options.md says what each is for."""

from tood_d2.config import default_options

from .schedule import EPOCH

train = default_options("train")
train["max_iter"] = 12 * EPOCH
train["eval_period"] = train["checkpointer"]["period"] = EPOCH
