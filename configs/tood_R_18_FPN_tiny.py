"""A narrow model that learns an easy data set from random initialisation on a CPU in a minute.

It is what `make demo` trains, on images of 160 pixels. Take tood_R_18_FPN_small for real data.
"""

from .tood_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.width = 16
model.head.num_convs = 3
# With the usual 0.01 the classes are learned only after some hundred iterations.
model.head.prior_prob = 0.1
model.initial_phase_iters = 340

dataloader.train.num_workers = 0  # batches are ready sooner than another process could give them
dataloader.train.mapper.augmentations[0].short_edge_length = [160]
dataloader.test.mapper.augmentations[0].short_edge_length = 160

train.max_iter = train.checkpointer.period = train.eval_period = 750
train.output_dir = "./output/tiny"
