from .tood_X_101_64x4d_FPN_2x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.deform_on_per_stage = [False, False, True, True]
model.head.num_deform_convs = 2
