# What a developer types. `make help` lists it.

CARGO ?= cargo
PREFIX ?= /usr/local
# The major version of LLVM to build with: the newest that is installed, or LLVM=19.
export BACKLTO_LLVM := $(shell scripts/llvm.sh $(LLVM))
ifeq ($(BACKLTO_LLVM),)
$(error there is no such LLVM)
endif
# kbuild would take it for its own.
unexport LLVM
MAKEOVERRIDES := $(filter-out LLVM=%,$(MAKEOVERRIDES))
FEATURES = --no-default-features --features llvm$(BACKLTO_LLVM),remote
# Kernel sources and trees of the tests and benchmarks: a few gigabytes.
WORK ?= target/kernel
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release/backlto
# The one whose archives build.rs knows how to link, and that the examples name.
dist test-dist test test-bazel: export BACKLTO_LLVM := 22
# What `make dist` has put into the tarball.
DIST := $(CURDIR)/target/dist/programs
LINKER := $(dir $(RELEASE))ld.backlto

.DEFAULT_GOAL := build

.PHONY: help
help: ## List these goals
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup
setup: ## Install what building backlto needs (Debian, as root)
	@scripts/setup.sh build

.PHONY: build
build: setup ## Build the release programs
	$(CARGO) build --release --locked $(FEATURES)
	@ln -f $(dir $(RELEASE))ld-backlto $(LINKER)

.PHONY: demo
demo: ## Install what is missing, build, and run the example on four arches
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	examples/demo/run.sh $(RELEASE) target/demo

.PHONY: check
check: ## Formatting, lints and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets $(FEATURES) -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc --locked --workspace --no-deps $(FEATURES)

.PHONY: quick
quick: ## Formatting, lints, unit tests, and tests of objects and doors: minutes
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory check
	$(CARGO) test --locked $(FEATURES) -p backlto --lib
	$(CARGO) test --locked $(FEATURES) -p backlto-cli --bins --test tidy --test compare --test plans \
		--test linker_door --test kernel_door

.PHONY: test
test: ## Install what is missing and run everything that CI runs
	@scripts/setup.sh kernel
	@BACKLTO_LLVM=19 scripts/setup.sh build
	@$(MAKE) --no-print-directory check build
	$(CARGO) test --locked --workspace $(FEATURES)
	examples/demo/run.sh $(RELEASE) target/demo
	scripts/site.sh target/site
	scripts/test-buildtools.sh $(RELEASE) target/buildtools
	scripts/test-programs.sh $(RELEASE) target/programs
	scripts/test-edits.py --edits 33 --seed 22 $(RELEASE) target/edits
	scripts/fuzz.sh 10
	scripts/test-kernel.py dropin --lend $(LINKER) $(WORK) 6.12/modules-small
	scripts/test-kernel.py kbuild $(RELEASE) $(WORK) 6.12/modules-small \
		6.12/small/arm64 6.12/small/riscv 6.12/small/loongarch
	scripts/test-kernel.py kbuild $(RELEASE) $(WORK) 7.2/small
	scripts/test-kernel.py matrix $(LINKER) $(WORK) 7.2/um/um
	$(MAKE) --no-print-directory test-oldest

# LLVM 19, as far as minutes go; `make LLVM=19 test-version` does the rest.
OLDEST := --locked --no-default-features --features llvm19,remote -p backlto-cli
.PHONY: test-oldest
test-oldest: ## The oldest LLVM: objects, links, and one cache for two LLVMs
	@BACKLTO_LLVM=19 scripts/setup.sh build
	CARGO_TARGET_DIR=target/llvm-19 $(CARGO) build $(OLDEST)
	CARGO_TARGET_DIR=target/llvm-19 $(CARGO) test $(OLDEST) --test compare -- the_same_on_x86_64 modules_of
	CARGO_TARGET_DIR=target/llvm-19 $(CARGO) test $(OLDEST) --test linker_door -- archives forms::archives
	scripts/test-versions.sh target target/llvm-19/debug/backlto $(RELEASE)

.PHONY: dist
dist: ## A tarball for systems without LLVM, laid out by BOLT (TUNE=full: LLVM compiled, too)
	@scripts/setup.sh dist
	@# It links that LLVM.
	$(if $(filter full,$(TUNE)),@$(MAKE) --no-print-directory build)
	scripts/dist.sh target/dist $(WORK)

.PHONY: test-dist
test-dist: dist ## What `make dist` made: bytes and messages, demo, programs, kernels below WORK
	@scripts/setup.sh kernel
	@echo 'left out: a target, and a suggestion in an error, of which the program has not the target'
	BACKLTO_TESTED=$(DIST)/backlto LD_BACKLTO_TESTED=$(DIST)/ld.backlto \
		$(CARGO) test --locked $(FEATURES) -p backlto-cli --test compare --test plans --test linker_door \
		-- --skip armv7 --skip command_lines_that_clang_rejects
	examples/demo/run.sh $(DIST)/backlto target/test-dist/demo
	scripts/test-bare-root.sh target/dist/*.deb target/test-dist/bare
	scripts/test-programs.sh $(DIST)/backlto target/test-dist/programs
	scripts/test-kernel.py kbuild $(DIST)/backlto $(WORK) 6.12/modules-small \
		6.12/small/arm64 6.12/small/riscv 6.12/small/loongarch

.PHONY: test-kernel
test-kernel: ## Larger kernels, drop-in kernels of four arches; they boot in qemu (hours)
	@scripts/setup.sh arches
	@$(MAKE) --no-print-directory build
	scripts/test-kernel.py kbuild $(RELEASE) $(WORK) 6.12/boot
	scripts/test-kernel.py kbuild $(RELEASE) $(WORK) 7.2/boot
	scripts/test-kernel.py dropin --reference $(LINKER) $(WORK) 6.12/modules 7.2/modules-small
	scripts/test-kernel.py dropin $(LINKER) $(WORK) 7.2-thin/small \
		6.12/modules-small/arm64 6.12/modules-small/riscv 6.12/modules-small/loongarch
	scripts/test-kernel.py matrix $(LINKER) $(WORK)

# Where `dropin --keep` leaves the tree.
LARGE = $(abspath $(WORK))/dropin-6.12-large-x86_64/obj
.PHONY: test-kernel-large
test-kernel-large: ## A defconfig of 6.12 as modules, drop-in; it boots; what its links cost (an hour)
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	scripts/test-kernel.py dropin --keep $(LINKER) $(WORK) 6.12/large
	benches/modules.py $(LINKER) $(WORK) 3 $(LARGE)

.PHONY: test-version
test-version: ## What has to work with each LLVM: tests, demo, programs, kernels that boot
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	$(CARGO) test --locked --workspace $(FEATURES)
	examples/demo/run.sh $(RELEASE) target/demo-$(BACKLTO_LLVM)
	scripts/test-programs.sh $(RELEASE) target/programs-$(BACKLTO_LLVM) lua zstd sqlite jsonnet
	mkdir -p $(WORK)/llvm-$(BACKLTO_LLVM)
	for version in 6.12 7.2; do \
		ln -sfn "$$(scripts/kernel.py source $(WORK) $$version)" $(WORK)/llvm-$(BACKLTO_LLVM); done
	scripts/test-kernel.py kbuild $(RELEASE) $(WORK)/llvm-$(BACKLTO_LLVM) 6.12/small
	scripts/test-kernel.py kbuild $(RELEASE) $(WORK)/llvm-$(BACKLTO_LLVM) 7.2/boot

.PHONY: test-llvm
test-llvm: ## The same with LLVM VERSION, in a system of its own where this one has it not
	scripts/test-llvm.sh $(VERSION) $(WORK)

.PHONY: test-incremental
test-incremental: ## Edits of a real kernel, each compared with a clean build by clang
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	scripts/test-incremental.py $(RELEASE) $(WORK)

.PHONY: test-remote
test-remote: ## A kernel with buildbox-casd (near, far away, killed) and BuildGrid; 10,000 modules
	@scripts/setup.sh remote
	@$(MAKE) --no-print-directory build
	scripts/test-remote.py $(RELEASE) $(WORK) 6.12/modules-small

.PHONY: test-prediction
test-prediction: ## What `backlto simulate` predicts of an engine, compared with buildbox-casd
	@scripts/setup.sh remote
	@$(MAKE) --no-print-directory build
	scripts/test-prediction.py $(RELEASE) $(WORK)

.PHONY: test-bazel
test-bazel: ## The backends of a real Bazel, with a cache that outlives its own
	@scripts/setup.sh bazel
	@$(MAKE) --no-print-directory build
	scripts/test-buildtools.sh $(RELEASE) target/buildtools bazel

.PHONY: test-report
test-report: ## Reports in a Chromium without a window, up to 20,000 modules; with figures
	@scripts/setup.sh report
	@$(MAKE) --no-print-directory build
	scripts/test-report.py --measure --library $(RELEASE) target/report

.PHONY: test-edits
test-edits: ## Random edits (EDITS=1000) of random programs: cached objects against fresh ones
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	scripts/test-edits.py --edits $(or $(EDITS),1000) $(RELEASE) target/edits

.PHONY: test-soak
test-soak: build ## One plan again and again (RUNS=200) in one process: memory, open files
	BACKLTO_SOAK=$(or $(RUNS),200) $(CARGO) test --locked --release $(FEATURES) -p backlto --test soak \
		-- --nocapture

.PHONY: test-sanitized
test-sanitized: ## Tests with the shims under AddressSanitizer and UBSan
	@scripts/setup.sh test
	scripts/test-sanitized.sh

.PHONY: fuzz
fuzz: build ## All that parses files, by libFuzzer (SECONDS=600 for each target)
	scripts/fuzz.sh $(or $(SECONDS),600)

.PHONY: test-damage
test-damage: build ## Damaged inputs (COUNT=300), compared with clang
	BACKLTO_DAMAGE=$(or $(COUNT),300) $(CARGO) test --locked --release $(FEATURES) --test damage -- --nocapture

.PHONY: bench
bench: ## Against ld.lld, DTLTO, make and xargs: kernels, a C++ program; table and plot (hours)
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory build
	benches/contest.py $(if $(wildcard $(DIST)),--tuned dist=$(DIST)) $(RELEASE) $(WORK)

.PHONY: bench-kernel
bench-kernel: ## Stages 2 to 4 against kbuild's stage 3 and ld.lld in process
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/kernel.py $(RELEASE) $(WORK)

.PHONY: bench-incremental
bench-incremental: ## Builds after an edit, and with nothing to do
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/incremental.py $(RELEASE) $(WORK)

.PHONY: bench-arches
bench-arches: ## Four kernels in one run, against the sum of their backends
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/arches.py $(RELEASE) $(WORK)

.PHONY: bench-linker
bench-linker: ## What ld.backlto costs where it has nothing to do
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/linker.py $(LINKER) $(WORK)

.PHONY: bench-modules
bench-modules: ## Links of kernel modules, cold and out of the cache
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/modules.py $(LINKER) $(WORK)

.PHONY: bench-touched
bench-touched: ## A whole make of a defconfig after touch init/main.c, against kbuild and ld.lld (hours)
	@scripts/setup.sh kernel
	@$(MAKE) --no-print-directory build
	benches/touched.py $(LINKER) $(WORK)

.PHONY: bench-growth
bench-growth: ## Links of 1,000 to 20,000 tiny modules, against ld.lld
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	benches/growth.py $(LINKER) $(WORK)

.PHONY: bench-launcher
bench-launcher: ## What backlto cc costs in front of clang
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	benches/launcher.py $(RELEASE) $(WORK)

.PHONY: site
site: ## The pages as a site, target/site/html
	@scripts/setup.sh test
	scripts/site.sh target/site

.PHONY: all
all: build ## Build all that is installed: the programs, their manual, the library for C and C++
	mkdir -p target/manual && $(RELEASE) manual target/manual
	capi/build.sh target/capi $(PREFIX)

# Under sudo there is often no cargo: then what was built is what is installed.
.PHONY: install
install: $(if $(shell command -v $(CARGO)),all) ## Install to PREFIX (/usr/local)
	@$(RELEASE) --version 2>/dev/null | grep -q 'LLVM $(BACKLTO_LLVM)\.' && \
		test target/capi/lib/pkgconfig/backlto.pc -nt $(RELEASE) || \
		{ echo 'not all is built with LLVM $(BACKLTO_LLVM): make LLVM=$(BACKLTO_LLVM) all' >&2; exit 1; }
	install -D $(RELEASE) $(DESTDIR)$(PREFIX)/bin/backlto-$(BACKLTO_LLVM)
	install -D $(LINKER) $(DESTDIR)$(PREFIX)/bin/ld.backlto-$(BACKLTO_LLVM)
	# The plain names are those of the newest.
	cd $(DESTDIR)$(PREFIX)/bin && for name in backlto ld.backlto; do \
		ln -sf "$$(ls $$name-[0-9][0-9] | tail -n 1)" $$name; done
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 target/manual/*.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include target/capi/include/backlto.h
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	cp -P target/capi/lib/libbacklto.* $(DESTDIR)$(PREFIX)/lib/
	sed 's|^prefix=.*|prefix=$(PREFIX)|' target/capi/lib/pkgconfig/backlto.pc \
		>$(DESTDIR)$(PREFIX)/lib/pkgconfig/backlto.pc
	install -D -m 644 target/manual/backlto.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/backlto
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions target/manual/_backlto
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d target/manual/backlto.fish

.PHONY: deb
deb: ## A Debian package of the programs, in target/deb
	@rm -rf target/deb
	$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/target/deb/root PREFIX=/usr
	strip --strip-unneeded target/deb/root/usr/bin/*-$(BACKLTO_LLVM)
	scripts/deb.sh target/deb/root target/deb

.PHONY: uninstall
uninstall: ## Remove what installs of all LLVMs have left in PREFIX
	cd $(DESTDIR)$(PREFIX) && rm -f bin/backlto bin/backlto-[0-9][0-9] bin/ld.backlto \
		bin/ld.backlto-[0-9][0-9] share/man/man1/backlto.1 share/man/man1/backlto-*.1 \
		share/man/man1/ld.backlto.1 include/backlto.h lib/libbacklto.* lib/pkgconfig/backlto.pc \
		share/bash-completion/completions/backlto share/zsh/site-functions/_backlto \
		share/fish/vendor_completions.d/backlto.fish

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean
