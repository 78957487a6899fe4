# The proxy as an image; docker-compose.yml runs it. tests/deploy runs these very lines without a Docker engine.

FROM python:3.13-slim-trixie AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR=/cache/uv
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /app
# What others have written is a layer of its own: it stays when only our code changes.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/cache/uv uv sync --locked --no-dev --extra replicas --extra otel --no-install-project
COPY README.md LICENSE ./
COPY auth auth
COPY addons addons
COPY mitm_config mitm_config
RUN --mount=type=cache,target=/cache/uv uv sync --locked --no-dev --extra replicas --extra otel \
    && python -m compileall -q auth addons

FROM python:3.13-slim-trixie
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="codex-mitm" \
      org.opencontainers.image.description="Run any OpenAI client on a ChatGPT plan, and see every byte of it" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# A number that no user of a host has by default; Kubernetes sees by it that this is not root.
RUN useradd --uid 10001 --home-dir /data --shell /usr/sbin/nologin --no-create-home codex-mitm \
    && install --directory --mode 700 --owner codex-mitm --group codex-mitm /data
COPY --from=builder /app /app
WORKDIR /app
# The root is read-only when it runs, so nothing is compiled then; and a log line is out when it is written.
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    CODEX_MITM_HOME=/data
USER 10001:10001
# Sign-ins, the record, and the key of mitmproxy's CA: all that is secret, and all that is written.
VOLUME ["/data"]
EXPOSE 9090
# Not with urllib, which would ask the company's proxy (HTTP_PROXY) for 127.0.0.1.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as To; to = To('127.0.0.1', 9090, timeout=4); to.request('GET', '/healthz'); raise SystemExit(to.getresponse().status != 200)"]
# 0.0.0.0 is the container's own network. Without a key the proxy does not start there, unless it is told so in words (README, "Keys").
CMD ["mitmdump", "-s", "addons/codex_auth.py", "--listen-host", "0.0.0.0", "--set", "confdir=/data/mitmproxy"]
