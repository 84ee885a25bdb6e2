# snakesteer with all that it needs, at the tested versions.
#   docker build -t snakesteer .                          for NVIDIA GPUs
#   docker build -t snakesteer --build-arg LOCK=cpu .     for CPUs alone
#   docker run --rm --gpus all -v "$PWD:/work" -v "$HOME/.cache/huggingface:/root/.cache/huggingface" \
#     --hostname "$(hostname)" snakesteer --configfile my-model.yaml
# The second folder keeps models of the hub from one container to the next. By the name of its machine a
# run knows that an earlier one, whose container was killed, was here and is dead (docs/search.md).
FROM python:3.11-slim-bookworm

# gcc: torch compiles small programs on a GPU while it runs.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

ARG LOCK=cuda
WORKDIR /opt/snakesteer
COPY envs envs/
RUN if [ "$LOCK" = cpu ]; then \
      pip install --no-cache-dir --no-deps torch==2.13.0 \
        --index-url https://download.pytorch.org/whl/cpu; \
    fi \
 && pip install --no-cache-dir --no-deps --require-hashes -r "envs/$LOCK.lock"

COPY Snakefile ./
COPY config config/
COPY profiles profiles/
COPY snakesteer snakesteer/
COPY workflow workflow/

WORKDIR /work
ENTRYPOINT ["snakemake", "-s", "/opt/snakesteer/Snakefile"]
