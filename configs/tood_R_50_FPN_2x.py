from .common.schedule import EPOCH
from .common.schedule import lr_multiplier_2x as lr_multiplier
from .tood_R_50_FPN_1x import dataloader, dataset, model, optimizer, train

train.max_iter = 24 * EPOCH
dataloader.train.mapper.augmentations[0].update(short_edge_length=[480, 800], sample_style="range")
