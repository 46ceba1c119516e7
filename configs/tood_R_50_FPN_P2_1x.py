"""P2 to P7, for small objects, at 2.7 times the operations of P3 to P7."""

from .tood_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

strides = [4, 8, 16, 32, 64, 128]
model.backbone.bottom_up.out_features = ["res2", "res3", "res4", "res5"]
model.head_in_features = ["p2", "p3", "p4", "p5", "p6", "p7"]
model.head.anchor_generator.strides = strides
model.head.anchor_generator.sizes = [[8 * stride] for stride in strides]
