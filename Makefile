# Everything that is built or installed goes below build/, which git ignores. Only Go, Python, make and bash are needed;
# what else a target wants (a C compiler for the race detector, Debian's python3-venv) it installs as root, or names.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO     ?= go
PYTHON ?= python3
# make e2e KONG=kong runs the end-to-end suite on a real Kong instead of devgateway.
KONG   ?=
# make demo KEEP=1 leaves everything running until Ctrl-C.
KEEP   ?=
# make fuzz FUZZTIME=10m looks longer; make test takes a short look.
FUZZTIME ?= 20s
# make bench BENCH=token,policy measures these parts alone.
BENCH  ?=

VENV     := build/venv
PREFECT  := $(VENV)/prefect-empty.db
BINARIES := kong-prefect devgateway
PYDEPS   := build/python/installed
PYTHON_ENV := PYTHONPATH=../build/python PREFECT_HOME=../build/prefect-home DO_NOT_TRACK=1
PREFECT_VENV ?= $(CURDIR)/$(VENV)
KEYCLOAK_VERSION := 26.4.0
KEYCLOAK_SHA256  := 1b6a11a2726ac8a8dc9c91d5fafe989a75ce4f1622d7f7b45c21d5bc16629c0a
KEYCLOAK_HOME ?= $(CURDIR)/build/keycloak/keycloak-$(KEYCLOAK_VERSION)
export KONG KEEP PREFECT_VENV KEYCLOAK_HOME

.PHONY: help build demo test unit lint python e2e e2e-guard e2e-keycloak screenshots fuzz bench replay vectors cc debian $(BINARIES)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BINARIES) ## build/kong-prefect (for Kong) and build/devgateway (the stand-in for Kong)

# Go's own cache knows what is up to date. As in the image: without libc, so that it runs anywhere, and without what only
# debuggers read, a third of it.
$(BINARIES):
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o build/$@ ./cmd/$@

demo: build $(PREFECT) ## the whole story on real parts, on this terminal (KEEP=1 keeps it running)
	@cd test && $(GO) build -trimpath -o ../build/demo ./cmd/demo
	@exec build/demo

test: FUZZTIME := 5s
test: unit lint python fuzz e2e ## everything: unit, lint, some fuzzing and end-to-end, under the race detector

unit: cc ## the fast part: the packages' own tests, without a server
	$(GO) test -race -short ./...
	@[ -n "$${KONG_TRANSCRIPTS:-}" ] || echo "SKIPPED: the replay of a real Kong's recordings (KONG_TRANSCRIPTS names no folder)"

replay: ## devgateway against the recordings of a real Kong in the folder KONG_TRANSCRIPTS
	@[ -n "$${KONG_TRANSCRIPTS:-}" ] || { echo "replay: set KONG_TRANSCRIPTS to the recordings' folder" >&2; exit 1; }
	$(GO) test -count=1 -v -run TestReplay ./devgateway

lint: ## gofmt, go vet and staticcheck, both modules
	@files=$$(find . -path ./build -prune -o -name '*.go' -print | xargs gofmt -l); \
	if [ -n "$$files" ]; then printf 'not formatted (gofmt -w):\n%s\n' "$$files"; exit 1; fi
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	@mkdir -p build && cd test && $(GO) build -o ../build/staticcheck honnef.co/go/tools/cmd/staticcheck
	build/staticcheck ./...
	cd test && ../build/staticcheck ./...

python: $(PREFECT) $(PYDEPS) ## the Python module for flows: mypy, and its tests on the runs that the Go packages examine
	cd python && $(PYTHON_ENV) ../$(VENV)/bin/python -m mypy --cache-dir ../build/mypy -p kong_prefect
	cd python && $(PYTHON_ENV) ../$(VENV)/bin/python -m unittest discover -s tests -t .

# The suite builds the binaries itself, with the race detector, while Prefect starts.
e2e: cc debian $(PREFECT) $(PYDEPS) ## the real binary between a real Prefect and a real OpenID provider (KONG=kong: on a real Kong)
	$(GO) test -race -count=1 -run TestOnRealServer ./prefectclient
	cd test && $(GO) test -race -count=1 -p 1 -timeout 15m ./...
	@[ -z "$(KONG)" ] || $(GO) test -count=1 ./devgateway
	@[ -e "$(KEYCLOAK_HOME)/bin/kc.sh" ] || echo "SKIPPED: the tests on a real Keycloak (make e2e-keycloak fetches it)" >&2

e2e-guard: cc debian $(PREFECT) ## Prefect's own command line, SDK, worker and web pages through the guard, and each role on each route
	cd test && $(GO) test -race -count=1 -timeout 15m -v ./guard

e2e-keycloak: cc $(PREFECT) $(KEYCLOAK_HOME)/bin/kc.sh ## docker-compose's story on a real Keycloak, which is fetched from Maven Central (160 MB; needs Java 17)
	cd test && $(GO) test -race -count=1 -timeout 15m -v ./keycloak

screenshots: debian $(PREFECT) $(PYDEPS) ## the pictures in docs, of Prefect's own UI and the dashboard, by a headless Chromium
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; \
	  else echo "the screenshots need Chromium (on Debian: apt-get install chromium)" >&2; exit 1; fi; }
	@mkdir -p docs/images
	cd test && $(GO) test -count=1 -timeout 10m ./stamp -run 'TestScreenshots$$' -args -screenshots ../../docs/images
	cd test && $(GO) test -count=1 -timeout 10m ./observe -run 'TestScreenshots$$' -args -screenshots ../../docs/images

# One process for each target, as many at once as there are processors. What a target finds it writes into the package's
# testdata/fuzz, to be kept as a test. Go takes the end of its own time for a failure now and then (golang/go#75804).
fuzz: $(PREFECT) ## every fuzz target of both modules, for FUZZTIME each
	@fuzz() { (cd "$$1" && if $(GO) test -run "^$$3\$$" -fuzz "^$$3\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x -parallel 1 "$$2" >"$$4" 2>&1 \
	      || { grep -qx ' *context deadline exceeded' "$$4" && ! grep -q 'Failing input' "$$4"; }; \
	    then echo "fuzz $$2 $$3: $$(grep -E '^fuzz: elapsed' "$$4" | tail -n 1 | cut -d, -f2-)"; \
	    else echo "FAILED: $$2 $$3"; cat "$$4"; exit 1; fi); }; export -f fuzz; \
	logs=$$(mktemp -d) && trap 'rm -rf "$$logs"' EXIT && \
	for module in . test; do (cd $$module && grep -rEo '^func Fuzz\w+' --include=*_test.go $$([ $$module = test ] || echo --exclude-dir=test) . | \
	    sed -E "s|^(.*)/[^/]*:func (.*)|$$module \1 \2 $$logs/\2|"); done | \
	xargs -P "$$(nproc)" -n 4 bash -c 'fuzz "$$@"' fuzz

bench: ## what the plugins cost, with goals: a table, and build/bench.json (BENCH: some parts only)
	@mkdir -p build && cd test && $(GO) test -c -o ../build/bench.test ./bench
	@cd test/bench && ../../build/bench.test -test.run '^TestBench$$' -full -only '$(BENCH)' -out $(CURDIR)/build/bench.json

vectors: ## Wycheproof's JOSE sets against package token, as a table
	cd test && $(GO) test -count=1 -v -run 'TestWycheproof$$' ./vectors

# Prefect, pinned, and one empty database with its schema: a server that starts on a copy of it is ready in a third of
# the time.
$(VENV)/installed: test/requirements.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update && apt-get install -y python3-venv; \
	  else echo "$(PYTHON) can't make virtual environments (on Debian: apt-get install python3-venv)" >&2; exit 1; fi; }
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@total=$$(grep -c == $<); \
	$(VENV)/bin/pip install --disable-pip-version-check --no-input --no-deps -r $< 2>&1 | tee $(VENV)/pip.log | \
	  awk -v total="$$total" -v tty="$$([ -t 2 ] && echo 1)" ' \
	    /^Collecting / {n++; if (tty || n % 25 == 0) {printf "%sinstalling Prefect: %d of %d packages fetched%s", tty ? "\r" : "", n, total, tty ? "" : "\n"; fflush()}} \
	    /^Installing collected/ {printf "%sinstalling Prefect: unpacking\n", tty ? "\n" : ""; fflush()}' || { tail -n 20 $(VENV)/pip.log >&2; exit 1; }
	@touch $@

$(PREFECT): $(VENV)/installed
	@echo "installing Prefect: preparing its database"
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && \
	  PREFECT_HOME="$$home" PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 \
	  $(VENV)/bin/prefect server database upgrade -y >"$$home/log" 2>&1 || { cat "$$home/log" >&2; exit 1; }; \
	  mv "$$home/prefect.db" $@

# What the end-to-end tests start beside Prefect. RUNLEVEL=1: the packages start no service of their own. Where they can't
# be installed, the tests that need them are skipped and say so.
debian:
	@missing=""; \
	command -v redis-server >/dev/null || missing="redis-server"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing="$${missing:+$$missing }postgresql"; \
	command -v chromium >/dev/null || missing="$${missing:+$$missing }chromium"; \
	command -v promtool >/dev/null || missing="$${missing:+$$missing }prometheus"; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update && \
	  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; } || \
	  echo "SKIPPED: the tests that need $$missing (on Debian: apt-get install $$missing)" >&2

# The distribution, pinned by its checksum. Only its name in Maven Central is asked for.
$(CURDIR)/build/keycloak/keycloak-$(KEYCLOAK_VERSION)/bin/kc.sh:
	@command -v mvn >/dev/null && command -v java >/dev/null || { echo "Keycloak needs Java 17, and Maven to fetch it (on Debian: apt-get install maven openjdk-17-jre-headless)" >&2; exit 1; }
	@mkdir -p build/keycloak && cd build/keycloak && zip=keycloak-quarkus-dist-$(KEYCLOAK_VERSION).zip && \
	mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:$(KEYCLOAK_VERSION):zip -DoutputDirectory=. && \
	echo "$(KEYCLOAK_SHA256)  $$zip" | sha256sum --check --quiet && $(PYTHON) -m zipfile -e "$$zip" . && rm "$$zip"
	@touch $@

# What the Python module needs beside Prefect, in a folder of its own, so that flows find it by PYTHONPATH.
$(PYDEPS): python/requirements.txt $(VENV)/installed
	@echo "installing what the Python module needs"
	@rm -rf build/python && $(VENV)/bin/pip install --disable-pip-version-check --no-input --quiet --no-deps \
	  --target build/python -r $< && touch $@

# The race detector is C: it needs a compiler.
cc:
	@command -v "$$($(GO) env CC)" >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update && apt-get install -y gcc libc6-dev; \
	  else echo "the race detector needs a C compiler (on Debian: apt-get install gcc libc6-dev)" >&2; exit 1; fi; }
