# syntax=docker/dockerfile:1
# The image of Tidegate: the binary, its configuration, certificates, and nothing that builds.

# Build. Slim is enough: it has the C compiler that ring and zstd need.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src

# The dependencies first, against an empty project: this layer is built again only when they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && for bench in overhead breaker limit jobs cache_hit_rate start simulate; do echo 'fn main() {}' > benches/$bench.rs; done \
    && cargo build --profile dist --locked \
    && rm -r src

# Cargo compares times of change, and a copied file may be older than the empty one that it replaces.
COPY config config
COPY src src
# The live page shows its entries.
COPY docs/runbook.md docs/runbook.md
RUN touch src/lib.rs src/main.rs \
    && cargo build --profile dist --locked \
    && strip --strip-debug target/dist/tidegate

# Run.
FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/dist/tidegate /usr/local/bin/tidegate

# `tidegate serve` reads config/gateway.toml from here. Mount another one over it, or set the environment.
WORKDIR /app
COPY config config

# Accepted jobs, where there is no Redis. It may be written to although the rest is read-only, and a volume outlives the container.
RUN install -d -o 65532 -g 65532 -m 700 /data
ENV JOBS_STATE_FILE=/data/tidegate-jobs.redb
VOLUME /data

# A number, so that an orchestrator can see that it is not root; no account and no home are needed.
USER 65532:65532

# Beyond the loopback address of the container, or nobody could reach it.
ENV HOST=0.0.0.0
EXPOSE 3001
STOPSIGNAL SIGTERM

# Degraded (exit code 1) still answers callers from fallbacks; a restart would only take that away. Unhealthy is 2.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["sh", "-c", "tidegate health || [ $? -eq 1 ]"]

ENTRYPOINT ["tidegate"]
CMD ["serve"]
