# Tidegate in a container, for Linux on x86-64:
#
#   docker build --tag tidegate .
#   docker run --user "$(id -u)" --volume "$PWD/shop:/tidegate" tidegate
#
# runs the pipeline file shop/pipeline.toml. `--target demos` makes the image with the programs of the
# demos, see demos/README.md; both come out of one compilation.

FROM rust:1-slim-trixie AS build
# Both fetch DuckDB: its library comes from npm, its signed extensions from PyPI.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends npm python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ENV CARGO_TARGET_DIR=/var/cache/target \
    CARGO_PROFILE_RELEASE_DEBUG=false \
    CARGO_PROFILE_RELEASE_INCREMENTAL=false \
    DUCKDB_LIB_DIR=/runtime/lib \
    XDG_CACHE_HOME=/var/cache/packages
# What was compiled and fetched stays for the next build, outside of the image. Cargo goes by the times of
# the sources, which say nothing where checkouts share a cache: so the sources count as new.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/var/cache/target,sharing=locked \
    --mount=type=cache,target=/var/cache/packages \
    find . -type f -exec touch {} + \
 && cargo xtask runtime /runtime \
 && cargo xtask runtime --needed-by demos /runtime/demos \
 && cargo build --locked --release --workspace --bin tidegate --bin orders-demo --bin tidegate-demo-quickstart \
        --bin tidegate-demo-inlined --bin tidegate-demo-time-travel \
 && cd /var/cache/target/release \
 && install -D --strip --target-directory=/runtime/bin tidegate \
 && install -D --strip --target-directory=/runtime/demos/bin \
        orders-demo tidegate-demo-quickstart tidegate-demo-inlined tidegate-demo-time-travel

FROM debian:trixie-slim AS runtime
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --home-dir /tidegate --no-create-home --shell /usr/sbin/nologin tidegate \
 && install --directory --owner=tidegate --group=tidegate \
        /tidegate /tidegate/lake /tidegate/out /tidegate/state
# The programs look for the library in ../lib.
COPY --from=build --chmod=755 /runtime/lib/ /usr/local/lib/
COPY --from=build --chmod=755 /runtime/extensions/ /usr/local/lib/tidegate/extensions/
COPY --from=build /runtime/bin/tidegate /usr/local/bin/
ENV TIDEGATE_EXTENSION_DIR=/usr/local/lib/tidegate/extensions
USER tidegate
# Here is the pipeline file. What is mounted over lake, out and state belongs to the user from the start.
WORKDIR /tidegate

FROM runtime AS demos
COPY --from=build --chmod=755 /runtime/demos/extensions/ /usr/local/lib/tidegate/extensions/
COPY --from=build /runtime/demos/bin/ /usr/local/bin/

# Runs jobs as its crontab says, for demos/job. cron itself has to be root; the jobs are the user's.
FROM runtime AS cron
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cron \
 && rm -rf /var/lib/apt/lists/*
# cron takes files of root alone that nobody else can write, which a mounted one need not be.
CMD ["sh", "-c", "install --mode=644 /etc/tidegate/crontab /etc/cron.d/tidegate && exec cron -f"]

FROM runtime AS tidegate
ENTRYPOINT ["tidegate"]
CMD ["run", "pipeline.toml"]
# Healthy once the first load is done.
HEALTHCHECK --interval=5s --timeout=10s --start-period=10m \
    CMD ["tidegate", "status", "pipeline.toml"]
