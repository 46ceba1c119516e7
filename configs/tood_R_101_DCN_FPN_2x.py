from .tood_R_101_FPN_2x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.deform_on_per_stage = [False, True, True, True]
model.head.num_deform_convs = 2
