.DEFAULT_GOAL := help
SHELL := /bin/bash
LINT := bin/golangci-lint
FUZZTIME ?= 10s
BENCH ?= .
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: help deps build binary loadtest test test-short analyze manifests chart lint fmt bench fuzz demo check clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing: a C++ compiler, servers for tests, Go modules
	@scripts/deps.sh

build: deps binary ## build bin/millrace

binary: ## build bin/millrace, and install nothing before
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/millrace ./cmd/millrace

# Not stripped: pprof would take DuckDB's C++ for whatever symbol it finds.
loadtest: ## build bin/loadtest, which measures whole paths (docs/loadtest.md)
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/loadtest ./loadtest

test: deps ## all tests, with the race detector and real servers
	go test -race -shuffle=on -p 3 -timeout 8m $$(go list ./... | grep -v /internal/sim$$)
	go test -timeout 2m ./internal/sim # one goroutine a schedule: the detector would only make it slow

test-short: ## the tests that need no server
	go test -short -shuffle=on -p 4 -timeout 2m ./...

analyze: ## read every statement for BigQuery by GoogleSQL's analyzer; its first build takes minutes
	cd internal/warehouse/bigquery/analyze && go vet . && go test -count=1 -timeout 5m . # a cached result does not know of changed statements

manifests: ## check what deploy/ holds: image, compose, dashboards and alerts; its first build takes minutes
	cd deploy/test && go vet . && go test -count=1 -timeout 8m . # a cached result does not know of changed files

chart: ## render the Helm chart by Helm's engine, and check every object; its first build takes minutes
	cd deploy/helm/test && go vet . && go test -count=1 -timeout 5m . # a cached result does not know of a changed chart

lint: $(LINT) ## check the style
	$(LINT) run --allow-parallel-runners ./...

fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

bench: build ## run the benchmarks; BENCH=pattern chooses
	go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 30m $$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n 1 dirname | sort -u)

fuzz: ## run each fuzz target for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)

# Either a file with the section warehouse: of a configuration, or bigquery-fake.
WAREHOUSE ?=
DEMO = bin/millrace demo $(if $(KEEP),--keep) $(if $(SEED),--seed $(SEED)) $(if $(WAREHOUSE),--warehouse $(WAREHOUSE))
BESIDE =
ifeq ($(WAREHOUSE),bigquery-fake)
DEMO := $(subst bigquery-fake,bin/bigqueryfake.yaml,$(DEMO))
BESIDE += bin/bigqueryfake bin/bigqueryfake.yaml
endif
ifeq ($(MONGODB_URI),) # of a MongoDB to make a database in; without, a stand-in runs beside
BESIDE += bin/mongofake "$$dir"
endif

demo: build $(filter bin/%fake,$(BESIDE)) ## show everything on databases of its own, and prove it; KEEP=1 leaves it running, SEED=2 changes what is written, WAREHOUSE=bigquery-fake runs it on that, MONGODB_URI=… too
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && $(BESIDE) $(DEMO)

.PHONY: bin/bigqueryfake bin/mongofake
bin/bigqueryfake bin/mongofake:
	go build -trimpath -ldflags '-s -w' -o $@ ./internal/testkit/$(@F)/serve

check: lint test ## what CI runs

clean: ## remove what was built
	rm -rf bin coverage.out

# The first build takes about two minutes; it is repeated when a version changes.
$(LINT): tools/go.mod tools/go.sum
	CGO_ENABLED=0 go build -modfile=tools/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
