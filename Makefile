# kiln: `make` lists the targets. A fresh Debian machine needs git and make; .ci/install brings the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kiln
# The toolchain .ci/install may have fetched, then whatever this user has, then where Go and Debian put it.
export PATH := $(CACHE)/go/bin:$(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# A clone that belongs to another user has no readable commit; the version is stamped by hand below.
export GOFLAGS ?= -buildvcs=false

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMANDS := $(patsubst cmd/%/,%,$(dir $(wildcard cmd/*/main.go)))
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
GO_BUILD := go build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)"

LINT_VERSION := v2.15.0
LINT := $(CACHE)/golangci-lint-$(LINT_VERSION)/golangci-lint
SCRIPTS := .ci/install .ci/run $(wildcard test/*/*.sh test/*/*/*.sh packaging/*.sh packaging/deb/* packaging/rpm/* packaging/*/*.sh packaging/image/buildkitd-entrypoint)

##@ Use

.PHONY: build
build: programs buildx ## build everything into bin/: kilnd, kiln, docker-buildx and links under the predecessor's names

.PHONY: programs
programs: ## build what is not docker-buildx, whose first compilation takes as long as all the rest
	@.ci/install build
	@mkdir -p bin
	@set -e; for c in $(COMMANDS); do echo "build bin/$$c"; $(GO_BUILD) -o bin/$$c ./cmd/$$c; done
	@ln -sf kilnd bin/buildkitd
	@ln -sf kiln bin/buildctl

# The driver is a module of its own. All that is made of it is made without paths of this machine, and so are the clients
# of the tests, which pin the same versions: what one compiles serves the others.
.PHONY: buildx
buildx: ## build docker-buildx with the kiln driver into bin/
	@.ci/install build
	@mkdir -p bin
	@echo "build bin/docker-buildx"; cd buildxdriver && $(GO_BUILD) -o ../bin/docker-buildx ./cmd/docker-buildx

.PHONY: package
package: ## make deb, rpm and tarball in dist/ (ARCH=arm64 for another machine, KINDS="deb" for one kind)
	@.ci/install build
	packaging/build.sh --out dist --kinds "$(or $(KINDS),deb rpm tar)"

.PHONY: package-lint
package-lint: ## make the deb and have lintian (which you install) judge it
	@$(MAKE) --no-print-directory package KINDS=deb
	lintian --allow-root --fail-on error,warning dist/*.deb

.PHONY: quickstart
quickstart: deps programs ## build a real multi-stage image on this machine and run it
	@test/quickstart/run.sh

##@ Work

.PHONY: test
test: deps ## run all tests (root; real registry, runtime and clients)
	go test -count=1 -timeout 20m ./...
	cd buildxdriver && go test -trimpath -count=1 -timeout 10m ./...

.PHONY: test-kubernetes
test-kubernetes: deps ## have a real Kubernetes API server judge packaging/kubernetes (compiles it first: 15 minutes of CPU)
	tools=$$(test/kubernetes/cluster/install.sh) && PATH="$$tools:$$PATH" go test -count=1 -tags cluster ./test/kubernetes/cluster

.PHONY: test-engine
test-engine: deps build ## use kiln's image from a real Docker engine and Podman (minutes, 200 MB the first time; no part of test)
	@test/engine/run.sh

.PHONY: check
check: deps fmt-check vet lint shellcheck layers style protos ## everything a change must pass beside the tests

.PHONY: bench
bench: deps programs ## time kilnd; PEERS="name=address,pid=N" runs others beside it, BENCH="-workloads run50" selects
	@test/bench/run.sh $(foreach peer,$(PEERS),-daemon $(peer)) $(BENCH)

.PHONY: generate
generate: ## write the generated wire code again
	go run ./solver/pb/internal/generate

.PHONY: fmt
fmt: ## format all Go files
	gofmt -w $(GO_FILES)

.PHONY: deps
deps: ## install what is missing on Debian
	@.ci/install

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin dist

##@ Parts of check

GO_FILES = $(shell find . -name '*.go' -not -path './.git/*')

.PHONY: fmt-check
fmt-check: ## gofmt has nothing to change
	@bad=$$(gofmt -l $(GO_FILES)); [ -z "$$bad" ] || { echo "not formatted (run make fmt):"; echo "$$bad"; exit 1; }

.PHONY: vet
vet: ## go vet
	go vet ./...
	cd buildxdriver && go vet -trimpath ./...

.PHONY: lint
lint: $(LINT) ## golangci-lint with .golangci.yml
	$(LINT) run ./...

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION) (once; about 2 minutes of CPU)"
	@cd / && GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

.PHONY: shellcheck
shellcheck: ## shellcheck on every script
	shellcheck -x $(SCRIPTS)

.PHONY: layers
layers: ## the import rules of the house plan
	go test ./test/layers

.PHONY: style
style: ## the measurable bar: sizes, branches, docs, names
	go test ./test/style

.PHONY: protos
protos: ## the generated wire code is that of the .proto files
	go run ./solver/pb/internal/generate -check

##@ Help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
