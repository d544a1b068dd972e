# One image for each program, for linux/amd64 and linux/arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --target webhook -t REGISTRY/webhook:TAG .
#
# Targets: webhook, stinger, tanajura, netra, netra-init, netra-init-iptables.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH
RUN set -eu; for p in webhook stinger tanajura netra netra/netra-init; do \
      go build -trimpath -ldflags "-s -w -X github.com/formicarium/formicarium/internal/version.Version=$VERSION" \
        -o /out/$(basename $p) ./$p; \
    done; mkdir -m 1777 /out/tmp

FROM scratch AS webhook
COPY --from=build /out/tmp /tmp
COPY --from=build /out/webhook /webhook
USER 65532:65532
ENTRYPOINT ["/webhook"]

FROM scratch AS stinger
COPY --from=build /out/tmp /tmp
COPY --from=build /out/stinger /stinger
USER 65532:65532
ENTRYPOINT ["/stinger"]

FROM scratch AS netra
COPY --from=build /out/tmp /tmp
COPY --from=build /out/netra /netra
USER 1337:1337
ENTRYPOINT ["/netra"]

FROM scratch AS netra-init
COPY --from=build /out/netra-init /netra-init
USER 0:0
ENTRYPOINT ["/netra-init"]

# For nodes without nf_tables: iptables of both kinds, which netra-init runs.
FROM debian:bookworm-slim AS netra-init-iptables
RUN apt-get update && apt-get install -y --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/netra-init /netra-init
USER 0:0
ENTRYPOINT ["/netra-init"]

# The hub runs git's own plumbing.
FROM debian:bookworm-slim AS tanajura
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/tanajura /tanajura
USER 65532:65532
ENTRYPOINT ["/tanajura"]
