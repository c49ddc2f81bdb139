# syntax=docker/dockerfile:1
# The image of Tidegate: a static program, its configuration, certificates; no shell, and nothing that builds. `make check-image`
# puts the same layers together, weighs them and starts a gateway in them.

# Build. Slim is enough: it has the C compiler that ring and zstd need, and the C library to link with.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src

# The dependencies first, against an empty project: this layer is built again only when they change.
COPY Cargo.toml Cargo.lock ./
COPY scripts/build-static scripts/link-twice scripts/
RUN mkdir src benches \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && for bench in overhead breaker limit jobs cache_hit_rate start simulate; do echo 'fn main() {}' > benches/$bench.rs; done \
    && scripts/build-static \
    && rm -r src

# Cargo compares times of change, and a copied file may be older than the empty one that it replaces.
COPY config config
COPY src src
# The live page shows its entries.
COPY docs/runbook.md docs/runbook.md
RUN touch src/lib.rs src/main.rs \
    && scripts/build-static \
    && strip target/dist/tidegate \
    && mkdir /data

# Run.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY deploy/image/nsswitch.conf /etc/nsswitch.conf
COPY --from=build /src/target/dist/tidegate /usr/local/bin/tidegate
ENV PATH=/usr/local/bin

# `tidegate serve` reads config/gateway.toml from here. Mount another one over it, or set the environment.
WORKDIR /app
COPY config config

# Accepted jobs, where there is no Redis. It may be written to although the rest is read-only, and a volume outlives the container.
COPY --from=build --chown=65532:65532 --chmod=700 /data /data
ENV JOBS_STATE_FILE=/data/tidegate-jobs.redb
VOLUME /data

# A number, so that an orchestrator can see that it is not root; no account and no home are needed.
USER 65532:65532

# Beyond the loopback address of the container, or nobody could reach it.
ENV HOST=0.0.0.0
EXPOSE 3001
STOPSIGNAL SIGTERM

# Degraded still answers callers from fallbacks; a restart would only take that away.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 CMD ["tidegate", "health", "--allow-degraded"]

ENTRYPOINT ["tidegate"]
CMD ["serve"]
