# The few commands of this house; `make` alone lists them.

TEST_THREADS ?= 4
CARGO ?= cargo

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint bench

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: a C compiler, Postgres server programs (quick when all is there)
	@sh scripts/setup.sh

demo: setup ## The whole story on two throw-away servers with real data
	@$(CARGO) run --release --quiet -- demo

test: setup lint ## Everything that must pass: lint, then all tests on real servers
	$(CARGO) test -- --test-threads $(TEST_THREADS)

lint: ## Format, clippy and documentation, warnings refused
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items --quiet

bench: setup ## Measure encoding and the copy from end to end
	$(CARGO) bench
