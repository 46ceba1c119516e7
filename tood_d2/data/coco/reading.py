import json


def read_coco(path):
    with open(path) as f:
        return json.load(f)
