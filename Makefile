# kubectl logstack. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

COMMIT  ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
IMAGE   ?= ghcr.io/logstack-dev/collector
TAG     ?= dev
# bare: a real single-node cluster on this machine (Linux, root)
# kind: kind, where Docker is there      current: the present kubeconfig context
CLUSTER ?= bare
OUT     ?= dist

NODE_ARCH := $(subst arm,arm/v7,$(subst arm64,ARM64,$(shell go env GOARCH)))
NODE_ARCH := $(subst ARM64,arm64,$(NODE_ARCH))

MODULE  := github.com/logstack-dev/kubectl-logstack
LDFLAGS := -s -w -X $(MODULE)/pkg/version.Version=$(TAG) -X $(MODULE)/pkg/version.Commit=$(COMMIT)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"
HACK    := go run -C hack/cluster .

# Tools, pinned. They are built from their Go modules into the Go cache.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.6.0

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z0-9-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build
build: ## Build both binaries into dist/
	@mkdir -p $(OUT)
	$(GOBUILD) -o $(OUT)/ ./cmd/...

image: ## Write the collector's OCI image archive (amd64, arm64, arm/v7) into dist/
	@mkdir -p $(OUT)
	go run ./hack/image -o $(OUT)/collector.tar -tag $(IMAGE):$(TAG) -version $(TAG) -commit $(COMMIT)

release: ## Archives, Krew manifest and index, SBOM, image and checksums of VERSION (v1.2.3) into dist/release/; MIRROR: URL of the archives in the index
	go run ./hack/release -o $(OUT)/release -index $(OUT)/krew-index $(if $(MIRROR),-mirror $(MIRROR)) $(if $(VERSION),-version $(VERSION))
	cp $(OUT)/release/logstack.yaml krew/logstack.yaml

##@ Try it
demo: ## Start a cluster if none is named, install, run sample apps, query them
	@CLUSTER=$(CLUSTER) OUT=$(OUT) IMAGE=$(IMAGE):$(TAG) hack/demo.sh up

demo-down: ## Remove what `make demo` made
	@CLUSTER=$(CLUSTER) OUT=$(OUT) IMAGE=$(IMAGE):$(TAG) hack/demo.sh down

cluster: ## Bring up a real single-node Kubernetes and load the collector's image (CLUSTER=bare, kind or current)
	@mkdir -p $(OUT)
	go run ./hack/image -o $(OUT)/collector-node.tar -platforms linux/$(NODE_ARCH) -tag $(IMAGE):$(TAG)
	CLUSTER=$(CLUSTER) $(HACK) up
	CLUSTER=$(CLUSTER) $(HACK) load $(CURDIR)/$(OUT)/collector-node.tar

cluster-down: ## Stop it and leave nothing behind
	CLUSTER=$(CLUSTER) $(HACK) down

##@ Test
test: ## All tests: packages, clients, API rig, and as root on Linux the real cluster
	@OUT=$(OUT) hack/test.sh all

test-unit: ## Only the tests of the packages
	@OUT=$(OUT) hack/test.sh unit

test-clients: ## Only the tests of other people's clients (OpenTelemetry SDK, WebSocket, logcli, ...)
	@OUT=$(OUT) hack/test.sh clients

test-qemu: ## Only the collector's tests on 32-bit arm and arm64, emulated by qemu-user (QEMU=all: the long ones, too)
	@hack/qemu.sh

test-rig: ## Only the tests on the API rig (real API server, fake kubelets)
	@OUT=$(OUT) hack/test.sh rig

test-cluster: ## Only the tests on the real cluster (root, Linux)
	@OUT=$(OUT) hack/test.sh cluster

soak: ## The long form of the fault tests: random histories, every fault on the API rig, numbered lines on the real cluster
	@OUT=$(OUT) LOGSTACK_SOAK=1 hack/test.sh soak

race: ## The packages' tests under the race detector
	go test -race -short ./...

fuzz: ## Every fuzzer for FUZZTIME (default 30s)
	@FUZZTIME=$${FUZZTIME:-30s} hack/fuzz.sh

bench: ## Benchmarks: append, select, needle, scan, queries; with B/op and bytes per line
	go test -run '^$$' -bench . -benchmem ./pkg/...

bench-scale: ## One collector with 10,000 containers on the API rig: a table, in 15 minutes (root)
	go -C hack/cluster test ./e2e -run '^$$' -bench Scale -benchtime 1x -timeout 40m

update: ## Rewrite golden files, import lists and generated documents
	go test ./cmd/... ./pkg/... -update
	go test ./hack/arch -update

##@ Check
check: fmt-check vet lint deps-check ## Everything that needs no running: format, vet, lint, go.mod, imports

fmt: ## Format the code
	gofmt -w cmd pkg hack manifests

fmt-check: ## Fail when the code is not formatted
	@bad=$$(gofmt -l cmd pkg hack manifests); if [ -n "$$bad" ]; then echo "not formatted (make fmt):"; echo "$$bad"; exit 1; fi

vet: ## go vet, all modules
	go vet ./...
	go -C hack/cluster vet ./...
	go -C hack/clients vet ./...

lint: ## golangci-lint with .golangci.yml
	go run $(GOLANGCI_LINT) run ./...

deps-check: ## go.mod is tidy, imports follow the floors, binaries link what modules.txt says
	go mod tidy -diff
	go test ./hack/arch

vuln: ## Known vulnerabilities of the dependencies (asks vuln.go.dev)
	go run $(GOVULNCHECK) ./...

clean: ## Remove dist/
	rm -rf $(OUT)

.PHONY: help build image release demo demo-down cluster cluster-down test test-unit test-clients test-qemu test-rig test-cluster soak race fuzz bench bench-scale update check fmt fmt-check vet lint deps-check vuln clean
