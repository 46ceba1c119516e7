# docker build --target cpu -t tood_d2 .      or --target cuda, to run with --gpus all
# docker run -v $PWD/images:/images -v $PWD/output:/tood_d2/demo_output tood_d2 \
#     python demo/demo.py --input /images
#
# dev/fresh_machine.sh tries the steps of the target cpu without Docker.

FROM debian:bookworm-slim AS cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /tood_d2
COPY . .
# --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu leaves out the libraries of GPUs.
ARG TORCH_INDEX=
RUN make setup
# More packages: --build-arg EXTRA="ray[default] s3fs" for docs/scale.md.
ARG EXTRA=
RUN [ -z "$EXTRA" ] || .venv/bin/pip install --constraint constraints.txt $EXTRA
ENV PATH=/tood_d2/.venv/bin:$PATH

# PyTorch's packages hold all of CUDA but the driver, which these variables bring in.
FROM cpu AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
