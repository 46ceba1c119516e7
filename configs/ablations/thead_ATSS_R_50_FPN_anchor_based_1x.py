from .thead_ATSS_R_50_FPN_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.head.anchor_type = "anchor_based"
