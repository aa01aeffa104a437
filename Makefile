# Two commands do everything for a newcomer: `make run` and `make test`; `make help` lists the rest.
CARGO ?= cargo
APT_BUILD = protobuf-compiler libprotobuf-dev
APT_TEST = etcd-server etcd-client prometheus prometheus-alertmanager bird2 iproute2 openssl curl
PROGRAM = target/release/calico-exporter
ADDRESS ?= 127.0.0.1:19179
RECORDING = tests/fixtures/three-hosts

KUBE_APISERVER = target/kube-apiserver
PROMETHEUS_3 = target/prometheus-3/promtool
# Other people's programs that are built here; $(1) is the folder with their go.mod, $(2) the package.
go-build = @command -v go >/dev/null || { echo "go is missing: install Go 1.26 or later (https://go.dev/dl)" >&2; exit 1; }; \
  mkdir -p $(@D) && cd $(1) && CGO_ENABLED=0 nice go build $(3) -p 2 -trimpath -ldflags='-s -w' -o $(abspath $(if $(findstring /promtool,$@),$(@D)/,$@)) $(2)
go-install = @command -v go >/dev/null || { echo "$(@F) is missing, and Go to build it with (https://go.dev/dl)" >&2; exit 1; }; \
  CGO_ENABLED=0 GOBIN=$(abspath target/tools/bin) nice go install -p 2 -trimpath -ldflags='-s -w' $(1)
# What --version says it was built from.
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC = target/$(TRIPLE)/dist/calico-exporter
HELM ?= $(shell command -v helm || echo target/tools/bin/helm)
DENY = advisories bans licenses sources

.DEFAULT_GOAL := help
.PHONY: help rust prometheus-3 actionlint run test test-kubernetes kube-apiserver lab lab-test bench bench-kubernetes bench-micro build lint docs bless protoc test-tools
.PHONY: static manual deb deny ship-test helm-test fuzz soak

## What there is to make.
help:
	@awk '/\?=/ { next } /^## / { sub(/^## /, ""); text = text (text == "" ? "" : "\n                   ") $$0; next } \
	  /^[a-z][a-z0-9-]*:/ && text != "" { sub(/:.*/, ""); printf "%-18s %s\n", $$0, text } { text = "" }' $(MAKEFILE_LIST)

## Serve a recorded cluster of three hosts and the recorded kernel of h1, one of whose routes was taken out;
## with ETCD_ENDPOINTS=http://… [NODENAME=…], a real cluster and this host's kernel.
run: build
ifdef ETCD_ENDPOINTS
	@echo "Serving $(ETCD_ENDPOINTS) on http://$(ADDRESS)/"
	ETCD_ENDPOINTS=$(ETCD_ENDPOINTS) $(if $(NODENAME),NODENAME=$(NODENAME)) $(PROGRAM) --web.listen-address $(ADDRESS)
else
	@echo "Serving a recorded cluster on http://$(ADDRESS)/ (metrics: http://$(ADDRESS)/metrics)"
	$(PROGRAM) --datastore.file $(RECORDING)/etcd.json --routes.file examples/h1.routes.json \
	  --links.file $(RECORDING)/h1.links.json --node.name h1 --web.listen-address $(ADDRESS)
endif

build: protoc
	CALICO_EXPORTER_REVISION=$(REVISION) $(CARGO) build --release --locked

## Every decoder, given what it does not expect, for FUZZ seconds each; what is new in an answer stays in tests/corpus.
FUZZ ?= 300
fuzz: protoc
	FUZZ_SECONDS=$(FUZZ) $(CARGO) test --locked --test fuzz

## Churn, scrapes and restarts for so long (SOAK=10m): memory, file descriptors and threads have to be flat at the end.
SOAK ?= 30m
soak: protoc test-tools
	SOAK=$(SOAK) $(CARGO) test --locked --test it -- --ignored --nocapture soak::

## Everything: unit and property tests, and those against a real etcd, kernel and promtool.
test: protoc test-tools
	$(CARGO) test --locked

## Kubernetes' own API server, for the tests of that datastore: built once (four minutes, 2.3 GB, Go 1.26) and kept.
kube-apiserver: $(KUBE_APISERVER)

$(KUBE_APISERVER): tests/kube-apiserver/main.go tests/kube-apiserver/go.mod tests/kube-apiserver/go.sum
	$(call go-build,tests/kube-apiserver,.)

## Prometheus 3 and its promtool, for the tests of rules and labels: built once (four minutes on two cores, Go 1.26) and kept.
prometheus-3: $(PROMETHEUS_3)

$(PROMETHEUS_3): tests/prometheus/go.mod tests/prometheus/go.sum
	$(call go-build,tests/prometheus,tool,-tags remove_all_sd)

## The Kubernetes datastore against a real API server over a real etcd.
test-kubernetes: protoc test-tools kube-apiserver
	CALICO_EXPORTER_TEST_KUBERNETES=1 $(CARGO) test --locked --test it kubernetes

## A small Calico network of real parts (three hosts, etcd, BIRD, Prometheus, Alertmanager) until Ctrl-C; prints URLs.
lab: protoc test-tools
	$(CARGO) test -q --locked --test lab -- --serve

## Every fault of the lab, each seen at the receiver and resolved, and a healthy day without one alert.
lab-test: protoc test-tools
	$(CARGO) test -q --locked --test lab -- --whole

# What the benchmark is told of: two are built wherever Go is, the third once it was asked for.
PEERS = $(if $(shell command -v go),target/promhttp-peer target/etcd) $(wildcard target/calicoctl)

## A cluster of 5,000 hosts in a real etcd, and every figure beside its peer's: docs/benchmarks.md.
bench: protoc test-tools $(PEERS)
	$(CARGO) build --profile dist --locked --bins
	$(CARGO) build --release --locked --example scale
	target/release/examples/scale $(foreach it,$(PEERS),--$(subst promhttp-,,$(notdir $(it))) $(it)) $(BENCH)

## What its part behind the Kubernetes API is measured with; built once (eight minutes, Go 1.26) and kept.
bench-kubernetes: $(KUBE_APISERVER) target/etcd target/calicoctl

target/promhttp-peer: benches/peer/main.go benches/peer/go.mod benches/peer/go.sum
	$(call go-build,benches/peer,.)

target/etcd target/calicoctl: target/%: benches/%/go.mod benches/%/go.sum
	$(call go-build,benches/$*,tool)

STEPS = decode_block_of_another_host/decode_block decode_block_in_full/decode_block decode_endpoint/decode_small \
  decode_handle/decode_small fold_block/fold fold_all_routes/fold_all audit_all_blocks/look audit_all_routes/look \
  audit_all_tunnel_entries/look_beneath \
  encode_plain/encode encode_gzip/encode

## Single steps: times and allocations, and then instructions (a benchmark and the function in it that is counted).
bench-micro: protoc
	$(CARGO) bench --locked --bench micro
	@tools/need valgrind -- valgrind
	@program=$$($(CARGO) bench -q --locked --bench micro --no-run --message-format json \
	  | sed -n 's/.*"executable":"\([^"]*micro-[^"]*\)".*/\1/p'); \
	for step in $(STEPS); do \
	  printf '%s: ' $${step%/*}; valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
	    --toggle-collect="micro::$${step#*/}" $$program --bench --sample-count 1 --sample-size 1 --exact micro::$${step%/*} 2>&1 \
	    | sed -n 's/.*refs: *\([0-9,]*\)/\1 instructions/p'; \
	done

## One file that needs no library, in $(STATIC); glibc's own resolver is in it.
static: protoc
	RUSTFLAGS="-C target-feature=+crt-static" CALICO_EXPORTER_REVISION=$(REVISION) \
	  $(CARGO) build --profile dist --locked --bins --target $(TRIPLE)

## Manual pages and completions for bash, zsh and fish, in target/manual.
manual: protoc
	$(CARGO) run -q --locked --example manual -- target/manual

## A Debian package, in target/deb.
deb: static manual
	@tools/need dpkg-deb gzip -- dpkg gzip
	tools/deb $(STATIC) target/manual target/deb

## The static program in a root directory that holds nothing else, and the package unpacked, both tried.
ship-test: deb test-tools
	CALICO_EXPORTER_STATIC=$(abspath $(STATIC)) CALICO_EXPORTER_DEB=$(abspath target/deb) \
	  $(CARGO) test --locked --test it -- --ignored ship::

## The chart, linted and rendered by the real helm, and the manifests by kustomize, held to deploy/schemas.yaml.
helm-test: $(HELM)
	HELM=$(abspath $(HELM)) $(CARGO) test --locked --test it -- --ignored charts::

target/tools/bin/helm:
	$(call go-install,helm.sh/helm/v3/cmd/helm@v3.22.0)

## The workflows in .github, linted.
actionlint: target/tools/bin/actionlint
	target/tools/bin/actionlint

target/tools/bin/actionlint:
	$(call go-install,github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)

## Licences, sources, duplicates and advisories of everything that is linked; DENY="bans licenses sources" without network.
deny:
	@command -v cargo-deny >/dev/null || { echo "missing: cargo-deny (cargo install --locked cargo-deny)" >&2; exit 1; }
	cargo-deny check $(DENY)

## Style and lints.
lint: protoc
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings

## The library's documentation.
docs: protoc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

## Rewrite what tests compare with: golden files and docs/metrics.md.
bless: protoc
	BLESS=1 $(CARGO) test --locked

# etcd-client compiles etcd's protobuf files when it is built; Debian keeps their imports in libprotobuf-dev.
protoc: rust
	@tools/need --header google/protobuf/descriptor.proto protoc -- $(APT_BUILD)

rust:
	@tools/rust

test-tools:
	@tools/need etcd etcdctl promtool prometheus alertmanager:prometheus-alertmanager bird ip openssl curl -- $(APT_TEST)
	@PATH="$$PATH:/usr/sbin" bird --version 2>&1 | grep -q 'version 2' || tools/need bird-2 -- bird2
