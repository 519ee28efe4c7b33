# Kong with kong-prefect. Build: docker build -t kong-prefect .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /kong-prefect ./cmd/kong-prefect

FROM kong:3.9
COPY --from=build --chmod=0755 /kong-prefect /usr/local/bin/kong-prefect
ENV KONG_DATABASE=off \
    KONG_PLUGINS=bundled,prefect-identity,prefect-trigger,prefect-guard \
    KONG_PLUGINSERVER_NAMES=prefect-identity,prefect-trigger,prefect-guard \
    KONG_PLUGINSERVER_PREFECT_IDENTITY_START_CMD="/usr/local/bin/kong-prefect serve --kong-prefix /usr/local/kong" \
    KONG_PLUGINSERVER_PREFECT_IDENTITY_QUERY_CMD="/usr/local/bin/kong-prefect dump prefect-identity" \
    KONG_PLUGINSERVER_PREFECT_IDENTITY_SOCKET=/usr/local/kong/kong-prefect.socket \
    KONG_PLUGINSERVER_PREFECT_TRIGGER_QUERY_CMD="/usr/local/bin/kong-prefect dump prefect-trigger" \
    KONG_PLUGINSERVER_PREFECT_TRIGGER_SOCKET=/usr/local/kong/kong-prefect.socket \
    KONG_PLUGINSERVER_PREFECT_GUARD_QUERY_CMD="/usr/local/bin/kong-prefect dump prefect-guard" \
    KONG_PLUGINSERVER_PREFECT_GUARD_SOCKET=/usr/local/kong/kong-prefect.socket
USER kong
