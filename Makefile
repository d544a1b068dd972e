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
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build every program into bin/, static and stripped
	@mkdir -p bin
	@for p in $(PROGRAMS); do echo "building $$p"; $(GOBUILD) -o bin/$$p ./$$p || exit 1; done
	@echo "building netra-init"; $(GOBUILD) -o bin/netra-init ./netra/netra-init

.PHONY: deps
deps: ## Install the Debian packages that the cluster and the tests need (root)
	$(CLUSTER) deps

.PHONY: cluster
cluster: deps ## Bring up a real one-node Kubernetes on this machine (root)
	$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## Stop that Kubernetes and leave nothing of it
	$(CLUSTER) down

.PHONY: images
images: build cluster ## Build every image without Docker and load it into the cluster
	$(CLUSTER) images --bin $(CURDIR)/bin

.PHONY: demo
demo: images ## The whole way: install, three services, an edit, a trace, the graph
	go run ./e2e/demo

.PHONY: unit
unit: ## Unit, golden, fuzz-seed and network-namespace tests (root)
	go run $(GOTESTSUM) --format pkgname-and-test-fails -- -race ./...
	go -C e2e/cluster vet ./...
	go -C e2e/cluster run $(GOTESTSUM) --format pkgname-and-test-fails -- ./...

.PHONY: e2e
e2e: images ## End-to-end tests on the real cluster
	go run $(GOTESTSUM) --format standard-verbose -- -tags e2e -count 1 -timeout 20m ./e2e/...

.PHONY: test
test: deps unit e2e ## Every test: unit, namespaces, end-to-end on the real cluster

.PHONY: lint
lint: ## Run the pinned golangci-lint
	go run $(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## Format the sources
	gofmt -w $$(git ls-files '*.go')

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
	  for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' $$file); do \
	    echo "$$(dirname $$file) $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$(dirname $$file) || exit 1; \
	  done; done

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin dist
