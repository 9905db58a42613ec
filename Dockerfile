# lesstext with CRAFT's weights inside; it runs without network and without being root.
#
#   docker build --target cuda --tag lesstext:cuda .
#   docker build --target cpu --tag lesstext:cpu --build-arg TORCH_INDEX=URL .
#   docker run --rm --volume /data:/data lesstext:cpu filter /data/laion --out /data/clean
#
# TORCH_INDEX is a package index that holds a torch without CUDA (PyTorch's documentation names one);
# without it the image for CPUs works, too, but carries 4 GB that it does not use.

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir build==1.3.0 \
    && python -m build --wheel --outdir /wheels

FROM python:3.12-slim AS cpu
ARG TORCH_INDEX=""
ENV PATH="/opt/lesstext/bin:$PATH" \
    OMP_NUM_THREADS="1"
COPY requirements.lock /build/
COPY --from=wheel /wheels /build/wheels
RUN python -m venv /opt/lesstext \
    && pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
        --constraint /build/requirements.lock torch torchvision \
    && pip install --no-cache-dir --constraint /build/requirements.lock \
        "$(echo /build/wheels/lesstext-*.whl)[weights,s3,gcs,http]" \
    && lesstext --version
RUN useradd --create-home --uid 1000 lesstext
USER 1000
WORKDIR /home/lesstext
ENTRYPOINT ["lesstext"]
CMD ["--help"]

FROM cpu AS cuda
# The driver comes from the host (nvidia-container-toolkit), CUDA's libraries with torch.
ENV NVIDIA_VISIBLE_DEVICES="all" \
    NVIDIA_DRIVER_CAPABILITIES="compute,utility"
