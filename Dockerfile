# syntax=docker/dockerfile:1
FROM python:3.12-slim AS build
RUN python -m venv /opt/traincast
WORKDIR /src
COPY server.lock ./
RUN /opt/traincast/bin/pip install --no-cache-dir --require-hashes --requirement server.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY service service
RUN /opt/traincast/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/traincast --create-home traincast
COPY --from=build /opt/traincast /opt/traincast
# Of glibc's heaps two serve all threads: its default, eight a core, keeps a tenth more memory after load.
ENV PATH=/opt/traincast/bin:$PATH \
    MALLOC_ARENA_MAX=2 \
    PYTHONUNBUFFERED=1 \
    TRAINCAST_HOST=0.0.0.0 \
    TRAINCAST_PORT=8000 \
    TRAINCAST_HOME=/var/lib/traincast
USER 10001
WORKDIR /var/lib/traincast
VOLUME /var/lib/traincast
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['TRAINCAST_PORT'] + '/readyz', timeout=2)"]
CMD ["traincast", "serve"]
