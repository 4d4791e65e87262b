# The few commands of this house; `make` alone lists them.

TEST_THREADS ?= 4
CARGO ?= cargo

# Of `make versions`: which (npm has 13 and 14 for Linux on x86_64 alone), and the tests by parts of their
# names; none are all of them.
VERSIONS ?= $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),13,15) 18
VERSION_TESTS ?= views columns:: values::

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test versions postgres lint bench

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: a C compiler, Postgres server programs (quick when all is there)
	@sh scripts/setup.sh

demo: setup ## The whole story on two throw-away servers with real data
	@$(CARGO) run --release --quiet -- demo

test: setup lint ## Everything that must pass: lint, then all tests on real servers
	$(CARGO) test -- --test-threads $(TEST_THREADS)

versions: setup postgres ## Tests of views, columns and values on Postgres 13 and 18: VERSIONS="14 17" VERSION_TESTS= for all tests on others
	@CARGO="$(CARGO)" TEST_THREADS="$(TEST_THREADS)" VERSION_TESTS="$(VERSION_TESTS)" sh scripts/versions.sh $(VERSIONS)

postgres: ## Server programs of other Postgres versions, by apt or npm, into target/postgres (quick when all is there)
	@sh scripts/postgres.sh $(VERSIONS)

lint: ## Format, clippy and documentation, warnings refused
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items --quiet

bench: setup ## Measure a row's way through the tap, a plan, a copy from end to end, a year of small days, views in layers
	$(CARGO) bench --bench encode
	$(CARGO) bench --bench plan
	$(CARGO) bench --bench copy
	$(CARGO) bench --bench intervals
	$(CARGO) bench --bench views
	@printf '%s\n' '' 'How to read this:' \
	  '  row/tap      CPU time of one row; row/copy and row/digest are what it cannot be without.' \
	  '  ratio        below 1, pgtide was faster; each is from two runs one right after the other.' \
	  '               Take the median: single ratios move by a tenth, more on a busy machine.' \
	  '  CPU per row  moves least; source and dest. are what the servers spent beside it. When all of' \
	  '               it fills the cores, as on two, nobody can be much faster than the other.' \
	  'PGTIDE_BENCH_ROWS and PGTIDE_BENCH_ROUNDS change the size; benches/peers has other tools.'
