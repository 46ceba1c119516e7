"""One recipe for your own data: a small model on weights of ImageNet, for a CPU or any GPU.

    train_net.py --config-file configs/tood_MobileNetV2_FPN_finetune.py dataset.source=export/

Length, warm-up, initial phase and evaluations follow from the number of images, and the input size
from the objects.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from tood_d2.modeling import BackboneFactor, TorchvisionBackbone

from .tood_R_18_FPN_small import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up = L(TorchvisionBackbone)(name="mobilenet_v2", norm="FrozenStatsBN")
# With the usual 0.01 the classes are learned only after some hundred iterations.
model.head.prior_prob = 0.1
model.head.num_convs = 3

dataset.min_object_size = 20

_SIZE = 320
# Images are shown in parts, so that a step takes as long at any size. At several sizes, classes and
# boxes are learned much more slowly.
dataloader.train.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=[_SIZE], sample_style="choice", max_size=800),
    L(T.RandomCrop)(crop_type="absolute", crop_size=[_SIZE, _SIZE]),
    L(T.RandomFlip)(horizontal=True),
]
dataloader.train.mapper.min_visible = 0.3
dataloader.test.mapper.augmentations[0].update(short_edge_length=_SIZE, max_size=800)

# The backbone forgets its classes at the head's learning rate.
optimizer.params.lr_factor_func = L(BackboneFactor)(factor=0.2)
optimizer.lr = 4e-3

train.init_checkpoint = "torchvision://mobilenet_v2"
# All lengths follow from that in epochs. Two thirds are the initial phase, a third in the paper.
train.epochs = 12.0
train.min_iter = 600
train.max_iter = 3000
model.initial_phase_iters = 2000
train.eval_period = train.checkpointer.period = 600
train.output_dir = "./output/finetune"
