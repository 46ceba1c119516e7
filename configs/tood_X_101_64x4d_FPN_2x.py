from .tood_R_101_FPN_2x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.update(num_groups=64, width_per_group=4)
train.init_checkpoint = "torchvision://resnext101_64x4d"
