# `make` alone lists the targets. What is installed is in scripts/setup, and what CI runs in .ci/run.

.DEFAULT_GOAL := help
.PHONY: help setup test soak answers mutants demo compose-env manifests lint format clippy rustdoc docs bench bench-instructions bench-breaker bench-cache-hit-rate bench-jobs bench-limit bench-simulate fuzz deny check-dockerfile check-image binary dist install uninstall slowhttptest restart-test jobs-chaos hold-test frame-latency bench-start generate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the tests need; quick when it is there
	@scripts/setup

test: setup ## set up, then run the whole suite
	cargo test --locked --no-fail-fast

generate: ## write what the program says of itself: the schema, the references
	TIDEGATE_BLESS=1 cargo test --locked --test generated what_is_committed

soak: SEEDS ?= 5000
soak: ## thousands of seeded worlds (SEEDS=5000); SEED=17 plays one of them again
	SEEDS=$(SEEDS) cargo test --locked --test soak -- --nocapture

answers: MUTANTS ?= 10000000
answers: ## ten million mutants of good answers (MUTANTS=10000000); SEED=17 plays one of them again
	MUTANTS=$(MUTANTS) cargo test --locked --test answers -- --nocapture

mutants: ## a hundred small bugs, put in one at a time: which does no test notice? (SAMPLE=100 SEED=1 TIME=7200; needs cargo-mutants)
	@scripts/mutants

restart-test: ROUNDS ?= 10
restart-test: ## ten restarts and ten reloads under load (ROUNDS=10): no call may be lost
	ROUNDS=$(ROUNDS) cargo test --locked --test restart -- --nocapture

jobs-chaos: ROUNDS ?= 200
jobs-chaos: ## kill gateways, workers and Redis at random while jobs run (ROUNDS=200, SEED=1): none may be lost
	ROUNDS=$(ROUNDS) SEED=$(or $(SEED),1) cargo test --locked --test chaos -- --nocapture

binary: ## the static program that is shipped, counted and measured: target/dist/tidegate
	@scripts/build-static

dist: setup binary ## what a release ships, in dist/: an archive, an SBOM, checksums
	@scripts/dist

install: PREFIX ?= /usr/local
install: $(if $(BINARY),,binary) ## install for all users (PREFIX=/usr/local SYSCONFDIR=/etc DESTDIR= BINARY=path of another build); keeps your configuration
	@BINARY=$(or $(BINARY),target/dist/tidegate) PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) DESTDIR=$(DESTDIR) scripts/install

uninstall: PREFIX ?= /usr/local
uninstall: ## remove what was installed, but not your configuration (PREFIX=/usr/local SYSCONFDIR=/etc DESTDIR=)
	@PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) DESTDIR=$(DESTDIR) scripts/install uninstall

demo: ## the gateway with simulated providers: no keys, no network
	cargo run --locked --quiet -- demo

compose-env: ## an ADMIN_TOKEN for deploy/compose.yml in deploy/.env; values that are there stay
	@scripts/compose-env

manifests: setup ## render deploy/kubernetes from the chart
	@scripts/manifests

lint: format clippy rustdoc docs ## every check that runs no test

format: ## is the code formatted?
	cargo fmt --check

clippy: ## lints, warnings are errors
	cargo clippy --locked --all-targets -- -D warnings

rustdoc: ## does the documentation build without a warning?
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

docs: ## links, anchors, headings and line lengths
	@scripts/check-docs

bench: setup $(if $(BINARY),,binary) ## what the gateway costs in production, beside nginx, bare hyper and no proxy; memory too (QUICK=1; BINARY=path of another build)
	TIDEGATE_BINARY=$(abspath $(or $(BINARY),target/dist/tidegate)) cargo bench --locked --bench overhead -- $(if $(QUICK),--quick)

bench-instructions: setup $(if $(BINARY),,binary) ## instructions, allocations and copies of a call, against the committed budget (BLESS=1 writes it anew; BINARY=path of another build)
	TIDEGATE_BINARY=$(abspath $(or $(BINARY),target/dist/tidegate)) TIDEGATE_BLESS=$(BLESS) cargo test --locked --test instructions -- --ignored --nocapture

bench-breaker: ## what an open breaker and a spent retry budget cost to consult
	cargo bench --locked --bench breaker

bench-limit: setup ## what a rate limit costs, here and in Redis
	cargo bench --locked --bench limit

bench-jobs: setup ## what a queue of 100,000 jobs costs, in a file and in Redis (QUICK=1)
	cargo bench --locked --bench jobs -- $(if $(QUICK),--quick)

bench-simulate: ## how many calls a second are simulated on one core (QUICK=1)
	cargo bench --locked --bench simulate -- $(if $(QUICK),--quick)

bench-start: $(if $(BINARY),,binary) ## how long a start takes, beside a bare server (BINARY=path of another build)
	TIDEGATE_BINARY=$(abspath $(or $(BINARY),target/dist/tidegate)) cargo bench --locked --bench start

bench-cache-hit-rate: ## how often the cache has the answer, beside LRU and the best possible (TRACE=file.csv)
	cargo bench --locked --bench cache_hit_rate -- $(TRACE)

fuzz: TARGET ?= sse
fuzz: TIME ?= 60
fuzz: ## look for input that breaks a reader's law (TARGET=sse TIME=60; needs nightly Rust and cargo-fuzz)
	mkdir -p target/fuzz/$(TARGET)
	cargo +nightly fuzz run $(TARGET) target/fuzz/$(TARGET) fuzz/corpus/$(TARGET) -- -max_total_time=$(TIME) -max_len=8192

deny: ## licences, advisories and sources of the dependencies (needs cargo-deny)
	cargo deny --locked check

check-dockerfile: setup ## lint the Dockerfile
	target/test-tools/venv/bin/hadolint --failure-threshold info Dockerfile

check-image: setup binary ## the layers of the image: what they weigh compressed, and a gateway runs in nothing but them (needs root)
	cargo test --locked --test image -- --ignored --nocapture

slowhttptest: ## a thousand callers that are slow on purpose, for a minute (needs slowhttptest)
	@scripts/slowhttptest

hold-test: ## 2,000 WebSockets and 2,000 streams at once, through a reload: none is lost; what each takes, and a stream unread (HELD=2000)
	ulimit -n "$$(ulimit -Hn)" && timeout 900 cargo test --locked --test wire -- --ignored --nocapture held::

frame-latency: ## what the gateway adds to the way of a WebSocket's frame, beside no gateway (unoptimised builds of both)
	cargo test --locked --test wire -- --ignored --nocapture what_a_frame_costs

clean: ## remove all that was built or installed here
	cargo clean
	rm -rf dist
