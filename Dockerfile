# docker build --target cpu -t tood_d2 .      or --target cuda, to run with --gpus all
# docker run -v $PWD/images:/images -v $PWD/output:/tood_d2/demo_output tood_d2 \
#     python demo/demo.py --input /images

FROM python:3.11-slim AS cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git libgl1 libglib2.0-0 make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /tood_d2
COPY . .
RUN dev/install.sh .venv
ENV PATH=/tood_d2/.venv/bin:$PATH

# The version of CUDA that the tested PyTorch is built with; nvcc builds Detectron2's operators.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS cuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        g++ git libgl1 libglib2.0-0t64 make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /tood_d2
COPY . .
RUN FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.0;8.6;9.0+PTX" dev/install.sh .venv
ENV PATH=/tood_d2/.venv/bin:$PATH
