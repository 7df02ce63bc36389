# labkit in a container: docker build -t labkit . && docker run --rm -p 127.0.0.1:8888:8888 labkit
# It prints an address with a token; open it. docs/start.md says more, and what of this was never run.

# What both need, the container and a Codespace (.devcontainer): Python, make, a user who is not root, torch's build for CPUs.
FROM python:3.11-slim AS base
# The newest git and make of this Debian: a version that is named here is gone from its archive some day.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash learner
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    PIP_NO_CACHE_DIR=1
USER 1000:1000
WORKDIR /home/learner/labkit

FROM base AS lab
COPY --chown=1000:1000 . .
RUN make install
EXPOSE 8888
CMD ["make", "lab", "IP=0.0.0.0"]
