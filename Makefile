# What a developer types. `make help` lists it.

CARGO ?= cargo
PREFIX ?= /usr/local
# Kernel sources and trees of the tests and benchmarks: a few gigabytes.
WORK ?= target/kernel
RELEASE := target/release/backlto

.DEFAULT_GOAL := build

.PHONY: help
help: ## List these goals
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup
setup: ## Install what building backlto needs (Debian, as root)
	@scripts/setup.sh build

.PHONY: build
build: setup ## Build the release programs
	$(CARGO) build --release --locked
	@ln -f target/release/ld-backlto target/release/ld.backlto

.PHONY: demo
demo: ## Install what is missing, build, and run the example on four arches
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	examples/demo/run.sh $(RELEASE) target/demo

.PHONY: check
check: ## Formatting and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- --deny warnings

.PHONY: test
test: ## Install what is missing and run everything that CI runs
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory check build
	$(CARGO) test --locked
	examples/demo/run.sh $(RELEASE) target/demo
	scripts/test-kernel.sh $(RELEASE) $(WORK) 6.12 small
	scripts/test-kernel.sh $(RELEASE) $(WORK) 7.2 small

.PHONY: test-kernel
test-kernel: ## Larger kernels of both versions; 7.2 boots in qemu (half an hour)
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	scripts/test-kernel.sh $(RELEASE) $(WORK) 6.12 boot
	scripts/test-kernel.sh $(RELEASE) $(WORK) 7.2 boot

.PHONY: test-damage
test-damage: build ## 300 damaged inputs, compared with clang
	BACKLTO_DAMAGE=300 $(CARGO) test --locked --release --test damage -- --nocapture

.PHONY: bench-kernel
bench-kernel: ## Stages 2 to 4 against kbuild's stage 3 and ld.lld in process
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/kernel.py $(RELEASE) $(WORK)

.PHONY: install
install: build ## Install to PREFIX (/usr/local)
	install -D -t $(DESTDIR)$(PREFIX)/bin $(RELEASE) target/release/ld.backlto

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean
