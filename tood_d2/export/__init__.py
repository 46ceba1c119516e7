"""Detectors for other runtimes. ONNX takes ``pip install tood_d2[export]``."""
