# Formicarium. `make help` lists the targets; README.md says which two you need.

SHELL       := /bin/bash -o pipefail
PROGRAMS    := kubectl-fmc webhook stinger tanajura netra
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS     := -s -w -X github.com/formicarium/formicarium/internal/version.Version=$(VERSION)
GOBUILD     := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
CLUSTER     := go -C e2e/cluster run .
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM   := gotest.tools/gotestsum@v1.13.0

# The demo's and the tests' own cluster, never the current context.
unexport KUBECONFIG

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build every program into bin/, static and stripped
	@mkdir -p bin
	@for p in $(PROGRAMS); do echo "building $$p"; $(GOBUILD) -o bin/$$p ./$$p || exit 1; done
	@echo "building netra-init"; $(GOBUILD) -o bin/netra-init ./netra/netra-init

.PHONY: deps
deps: ## Install the Debian packages that the cluster and the tests need (root)
	$(CLUSTER) deps

# A cluster of the user's own needs nothing of this machine.
.PHONY: cluster
cluster: $(if $(FMC_E2E_KUBECONFIG),,deps) ## Bring up a real one-node Kubernetes on this machine (root)
	$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## Stop that Kubernetes and remove all it made but the build cache
	$(CLUSTER) down --purge

# The tag is made from the programs themselves, so that an install after an
# edit replaces what runs.
IMAGE_TAG = $(if $(FMC_E2E_TAG),$(FMC_E2E_TAG),dev-$(shell cat bin/kubectl-fmc bin/webhook bin/stinger bin/tanajura bin/netra bin/netra-init | sha256sum | cut -c 1-12))

.PHONY: images
images: build cluster ## Build every image without Docker and load it into the cluster
ifdef FMC_E2E_KUBECONFIG
	@test -n '$(FMC_E2E_REGISTRY)' -a -n '$(FMC_E2E_TAG)' || { echo 'FMC_E2E_KUBECONFIG is set: set FMC_E2E_REGISTRY and FMC_E2E_TAG to where that cluster finds the images (make them with: $(CLUSTER) images --bin $(CURDIR)/bin --save $(CURDIR)/DIR)' >&2; exit 1; }
else
	$(CLUSTER) images --bin '$(CURDIR)/bin' --tag '$(IMAGE_TAG)' webhook stinger tanajura netra netra-init netra-init-iptables
	$(CLUSTER) images jaeger chamber-python chamber-node chamber-go
endif

# What the end-to-end tests need besides.
.PHONY: chambers
chambers: cluster
ifndef FMC_E2E_KUBECONFIG
	$(CLUSTER) images chamber-clojure
endif

.PHONY: demo
demo: images ## The whole way: install, three services, an edit, a trace, the graph
	FMC_E2E_TAG='$(IMAGE_TAG)' go run ./e2e/demo

# Each part's results, for the summary of `make test`.
RESULTS := bin/results
TESTSUM  = go run $(GOTESTSUM) --jsonfile '$(CURDIR)/$(RESULTS)/$@.json'

.PHONY: unit
unit: ## Unit, golden, fuzz-seed and network-namespace tests (root)
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format pkgname-and-test-fails -- -race ./...

.PHONY: unit-cluster
unit-cluster: ## Unit tests of the cluster's harness (root)
	@mkdir -p $(RESULTS)
	go -C e2e/cluster vet ./...
	go -C e2e/cluster run $(GOTESTSUM) --jsonfile '$(CURDIR)/$(RESULTS)/$@.json' --format pkgname-and-test-fails -- ./...

.PHONY: e2e
e2e: images chambers ## End-to-end tests on the real cluster; they delete the demo's devspace
	@mkdir -p $(RESULTS)
	FMC_E2E_TAG='$(IMAGE_TAG)' $(TESTSUM) --format standard-verbose -- -tags e2e -count 1 -timeout 20m ./e2e/...

.PHONY: lifecycle
lifecycle: cluster ## Kill the cluster's daemons, bring it up again, take it down, look for leftovers (root)
	@mkdir -p $(RESULTS)
	go -C e2e/cluster run $(GOTESTSUM) --jsonfile '$(CURDIR)/$(RESULTS)/$@.json' --format standard-verbose -- -tags lifecycle -count 1 -timeout 10m -run TestLifecycle ./command

# Every part runs, whatever became of the one before; the summary fails if any
# part has, or did not come to an end.
TEST_PARTS := unit unit-cluster e2e $(if $(FMC_E2E_KUBECONFIG),,lifecycle)

.PHONY: test
test: deps ## Every test: unit, namespaces, end-to-end on the real cluster, which is down afterwards
	@rm -rf $(RESULTS)
	@failed=; for part in $(TEST_PARTS); do $(MAKE) --no-print-directory $$part || failed="$$failed $$part"; done; \
	  go run ./e2e/summary $(RESULTS) $(TEST_PARTS) || exit 1; \
	  if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

.PHONY: lint
lint: ## Run the pinned golangci-lint
	go run $(GOLANGCI) run --build-tags e2e ./...
	cd e2e/cluster && go run $(GOLANGCI) run --config ../../.golangci.yml --build-tags lifecycle ./...

.PHONY: fmt
fmt: ## Format the sources
	gofmt -w $$(git ls-files '*.go')

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
	  for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
	    echo "$$(dirname $$file) $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname "$$file")" || exit 1; \
	  done; done

# Of bench/netra (-quick, -rounds 3), bench/webhook (-time 5s), bench/hub (-saves 1000)
# or bench/sync (-files 1000); -h lists them.
BENCHFLAGS ?=
.PHONY: bench-netra
bench-netra: ## Measure netra against other proxies on this machine, in half an hour (root)
	bench/netra/install-peers
	go build -o bin/bench-netra ./bench/netra
	bin/bench-netra -json $(RESULTS)/$@.json $(BENCHFLAGS)

.PHONY: bench-inference
bench-inference: ## How well netra joins calls without headers: precision and recall, in bin/inference.json
	@mkdir -p bin
	go run ./bench/inference -json bin/inference.json

.PHONY: bench-webhook
bench-webhook: ## How fast the webhook answers reviews, on one processor, in bin/results/bench-webhook.json
	@mkdir -p $(RESULTS)
	go build -o bin/bench-webhook ./bench/webhook
	bin/bench-webhook -json $(RESULTS)/$@.json $(BENCHFLAGS)

.PHONY: bench-hub
bench-hub: ## What 10,000 saves cost the hub: each push's time, the repository's size, in bin/results/bench-hub.json
	@mkdir -p $(RESULTS)
	go build -o bin/bench-hub ./bench/hub
	bin/bench-hub -json $(RESULTS)/$@.json $(BENCHFLAGS)

.PHONY: bench-sync
bench-sync: images ## How fast saves reach the cluster, beside a tar stream, in bin/results/bench-sync.json (root)
	@mkdir -p $(RESULTS)
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/bench-sync-probe ./bench/sync/probe
	go build -o bin/bench-sync-tarloop ./bench/sync/tarloop
	go build -o bin/bench-sync ./bench/sync
	FMC_E2E_TAG='$(IMAGE_TAG)' bin/bench-sync -json $(RESULTS)/$@.json $(BENCHFLAGS)

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin dist
