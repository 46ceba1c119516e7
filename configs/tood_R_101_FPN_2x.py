from .tood_R_50_FPN_2x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.depth = 101
train.init_checkpoint = "torchvision://resnet101"
