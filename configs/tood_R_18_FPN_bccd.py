"""The small model from random weights, with settings tuned on BCCD.

Other data may need others: on the images of make_shapes.py this learning rate is too high to learn
the classes. Try tood_R_18_FPN_small first.
"""

from .tood_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

optimizer.lr = 4e-3
# From random weights, soft labels made of the model's own predictions help only late in training.
model.initial_phase_iters = 300
train.output_dir = "./output/bccd"
