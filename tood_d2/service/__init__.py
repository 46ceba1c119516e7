"""Detection for other programs, over HTTP: FastAPI, run by uvicorn.

A request goes from ``connections`` (uvicorn) by ``metrics`` to ``app``, which has its body read by
``bodies`` and its image detected in by ``batching``. ``answers`` are what comes back.
"""
