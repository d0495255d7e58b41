# What a developer runs by name. `go test ./...` needs nothing of this.
GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How long each fuzz test runs, as a time or as a number of runs (20000x).
FUZZTIME ?= 20s
SEEDS ?= 1000

# What chaos, soak, compare and sizing are told, as in make chaos CHAOS='-seed 7 -for 1h'.
CHAOS ?=
SOAK ?= -for 1h
COMPARE ?=
BALANCERS ?= TestBalancer
SIZING ?=
RUNS ?= 10
SHOTS ?=

.PHONY: build test race lint fuzz sim council chaos guarantees soak compare scale sizing hardening figures balancers interop metrics browser walkthrough deploy manifests pods cross bench ci

build: ## the three programs, into bin/
	$(GO) build -o bin/ ./cmd/...

test:
	$(GO) test ./...

race:
	$(GO) test -race ./...

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt wants these files"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## each fuzz test for FUZZTIME, a time or a number of runs
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -parallel 2 $$pkg; \
		done; \
	done

sim: ## SEEDS seeded histories of routers and shards
	$(GO) test ./internal/sim -run TestSeeds -count 1 -seeds $(SEEDS) -v

council: ## SEEDS seeded histories of voters, splits and deaths
	$(GO) test ./internal/sim/council -run TestSeeds -count 1 -seeds $(SEEDS) -v -timeout 30m

chaos: ## real faults under roomring verify; network faults need root, iproute2 and iptables
	$(GO) run ./internal/chaos $(CHAOS)

guarantees: ## the table of docs/guarantees.md: RUNS runs of each promise
	$(GO) run ./internal/chaos -table -runs $(RUNS)

soak: ## churn for an hour; memory, descriptors and goroutines must stay flat
	$(GO) run ./internal/soak $(SOAK)

compare: ## what a delivery costs, next to a bare loop, nginx and HAProxy; a quarter of an hour
	$(GO) run ./internal/compare $(COMPARE)

sizing: ## what conns and rooms cost: tables of docs/operating.md; a quarter of an hour, SIZING=-quick a minute
	$(GO) run ./internal/sizing $(SIZING)

scale: ## the tables of docs/scale.md, and what this machine takes for what large clusters have to do; minutes
	$(GO) run ./internal/scale
	$(GO) run ./internal/scale -measure
	$(GO) test ./link -run '^$$' -bench Memory -benchtime 3x
	$(GO) test ./internal/node -run TestCrowds -count 1 -crowds -v -timeout 20m

hardening: ## rows of the hardening table that take time; prints figures
	$(GO) test ./internal/e2e -run TestHardening -count 1 -hardening -v -timeout 20m

figures: ## faults of shards and of the register, as often as the promises say; prints times
	$(GO) test ./internal/e2e -run 'TestTwoKilled|TestLeader|TestShard|TestDrainAndJoin|TestReconnectStorm' -count 1 -figures -parallel 1 -v -timeout 40m
	$(GO) test ./internal/node -run TestThirty -count 1 -figures -v
	$(GO) test ./cluster/register -run '^$$' -bench . -benchtime 20x

balancers: ## nginx and HAProxy before routers, with the files of deploy; needs both, and root
	$(GO) test ./internal/e2e -run '$(BALANCERS)' -count 1 -balancers -v -timeout 20m

interop: ## WebSocket clients that nobody here wrote
	cd internal/interop && npm ci --silent && $(GO) test -count 1 ./...

metrics: ## rules, their tests, what nodes show and what the dashboard asks; needs promtool and prometheus
	$(GO) test ./internal/node -run TestPrometheus -count 1 -prometheus -v

browser: ## the pages in Chromium, every control clicked; SHOTS=DIR keeps pictures
	cd internal/browser && npm ci --silent && $(GO) test -count 1 -timeout 20m -browser -shots "$(SHOTS)" .

walkthrough: ## what docs/walkthrough.md and the README say, command by command; needs root, iproute2, nginx and prometheus
	$(GO) test ./internal/e2e -run TestWalkthrough -count 1 -walkthrough -v -timeout 30m

deploy: ## what is under deploy, and the release, by the programs that will read them; CHECK=-require
	cd internal/checks && $(GO) test -count 1 ./... $(CHECK)
	cd internal/checks/workflows && $(GO) test -count 1 ./...
	cd internal/checks/goreleaser && $(GO) test -count 1 -timeout 20m ./... $(CHECK)

manifests: ## what deploy/kubernetes and the Helm chart have from elsewhere
	cd internal/checks && $(GO) test -count 1 ./chart -run 'TestPlain|TestChart' -update

pods: ## the pods of the Helm chart as processes with addresses of their own, updated and lost under verify; needs root and iproute2
	cd internal/checks && $(GO) test -count 1 ./chart -run 'TestRollout|TestAllLost|TestSixes' -pods -v -timeout 30m

cross: ## other systems must build, and their tests must compile
	GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	GOOS=windows GOARCH=amd64 $(GO) vet ./...

bench: ## the cores' benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./router/... ./shard/... ./link ./internal/poll

ci:
	bash .ci/run
