"""Time, memory and floating-point operations of detectors, compared in one run."""
