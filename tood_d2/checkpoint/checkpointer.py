from detectron2.checkpoint import DetectionCheckpointer


class SafeCheckpointer(DetectionCheckpointer): ...
