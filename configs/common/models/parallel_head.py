"""A TOOD's head replaced by the parallel one."""

from tood_d2.modeling import ParallelHead


def use_parallel_head(model, centerness=False):
    model.head._target_ = ParallelHead
    model.head.num_convs = 4
    model.head.centerness = centerness
    for key in ("num_deform_convs", "align_cls", "align_boxes", "checkpoint"):
        del model.head[key]
