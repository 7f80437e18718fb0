# Rempart. `make` says what there is.

SHELL := /bin/sh
comma := ,
CARGO ?= cargo
# A toolchain that setup has just installed is found without a new login.
export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# The lab.
NAME     ?= lab
DOCUMENT ?= examples/datatel.toml
HOST     ?=
CMD      ?=
SEGMENT  ?=
PROGRAM  ?= rempart-ha-worker
VERB     ?= show
# debug or release.
PROFILE  ?= debug
# Threads that run tests: each lab is a dozen namespaces and half a dozen servers.
TEST_THREADS ?= 2
# Tests that count each lost millisecond, of the share that `make test` runs: each has the machine for itself.
MEASURED     := pair::each_daemon_may_be_restarted pair::one_way_between_the_nodes_is_enough
# Tests of the image that `make test-image-more` runs.
IMAGE_MORE   := audit:: install:: pair::a_pair_is_updated secure:: setup:: state:: watchdog::
FUZZ_TARGET  ?= document
FUZZ_SECONDS ?= 60
# Whatever of remote access reads what others wrote.
VPN_TARGETS  := openvpn_packet openvpn_wrap openvpn_message openvpn_session openvpn_data openvpn_snapshot vpn_value shared relay \
  wireguard certificate store ldap radius

CARGO_PROFILE := $(if $(filter release,$(PROFILE)),--release)
TARGET        := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
LAB           := $(TARGET)/$(PROFILE)/lab

.DEFAULT_GOAL := help
.PHONY: help setup setup-clients build lab lab-up lab-exec lab-console lab-status lab-down \
  lab-cut lab-mend lab-kill lab-power-off lab-power-on lab-freeze lab-thaw lab-ssh lab-download lab-traffic lab-vpn image image-again image-setup qemu qemu-pair flash test test-full test-pair test-vpn test-ovpn test-image test-image-more test-image-short test-images bench bench-large fuzz fuzz-vpn deny clean

help: ## this page
	@echo 'Rempart. What make can do:'
	@awk -F ':[^#]*## ' '/^[a-z -]+:.*## / { printf "  %-28s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install what is missing to build and test (as root; says what it installs)
	@tests/setup/install.sh

# The stock VPN clients of other Debian suites. 2.5 is of a suite that may go from the mirrors: only the long tests want it.
setup-clients: ## unpack openvpn 2.5 and 2.7 beside this machine's, into target/stock (as root)
	@tests/setup/clients.sh '$(TARGET)/stock' 2.7
	@tests/setup/clients.sh '$(TARGET)/stock' 2.5 || echo 'setup: without openvpn 2.5, whose tests are skipped' >&2

build: ## build every program
	$(CARGO) build --workspace --bins $(CARGO_PROFILE)

# The lab is namespaces, bridges and nftables rules, which only root may make.
define NEEDS_ROOT
	@if [ "$$(id -u)" -ne 0 ]; then \
	  echo 'make $@ needs root: the lab makes network namespaces, bridges and nftables rules, all of them' >&2; \
	  echo 'inside namespaces of its own; nothing on the machine'"'"'s networks changes. Run: sudo -E env PATH="$$PATH" make $@' >&2; \
	  $(if $(filter test%,$@),echo 'Without root$(comma) `cargo test --workspace` runs what needs no namespace and says what it skips.' >&2;) \
	  exit 1; fi
endef

lab: ## the network of the example on this machine with both routers, and the console; all of it goes when the console ends
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup
	@$(MAKE) --no-print-directory build
	@$(LAB) up --name '$(NAME)' --document '$(DOCUMENT)'

lab-up: ## the same without a console, until `make lab-down`
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup
	@$(MAKE) --no-print-directory build
	@$(LAB) up --detach --name '$(NAME)' --document '$(DOCUMENT)'

# CMD goes through a shell in the host, from the environment and unexpanded, so that it means there what it says.
lab-exec: export LAB_COMMAND = $(value CMD)
lab-exec: ## a command in a host: make lab-exec HOST=cli-lan CMD="curl http://192.168.20.11/"
	$(NEEDS_ROOT)
	@if [ -z '$(HOST)' ] || [ -z "$$LAB_COMMAND" ]; then \
	  echo 'usage: make lab-exec HOST=cli-lan CMD="curl http://192.168.20.11/"   (hosts: make lab-status)' >&2; exit 2; fi
	@test -x '$(LAB)' || { echo 'the lab is not built: make lab-up' >&2; exit 1; }
	@'$(LAB)' exec --name '$(NAME)' '$(HOST)' sh -c "$$LAB_COMMAND"

lab-console: ## the console of the active router in a standing lab, or of the one that HOST names
	$(NEEDS_ROOT)
	@$(LAB) console --name '$(NAME)' $(if $(HOST),--node '$(HOST)')

lab-ssh: ## a shell by SSH through the firewall, from srv-voip to srv-ebrigade
	$(NEEDS_ROOT)
	@$(LAB) ssh --name '$(NAME)'

lab-download: ## a download from the Internet to cli-lan through the firewall, until interrupted
	$(NEEDS_ROOT)
	@$(LAB) download --name '$(NAME)'

lab-traffic: ## a download and an SSH session that go on by themselves: make lab-traffic VERB=start, stop, or show (their longest pauses)
	$(NEEDS_ROOT)
	@$(LAB) traffic --name '$(NAME)' '$(VERB)'

lab-vpn: ## an agent outside: stock openvpn on cli-wan with a profile exported on the active router: make lab-vpn, or VERB=stop
	$(NEEDS_ROOT)
	@$(LAB) vpn --name '$(NAME)' $(filter-out show,$(VERB))

lab-cut lab-mend: ## pull a cable, put it back in: make lab-cut HOST=rte01 SEGMENT=lan
	$(NEEDS_ROOT)
	@if [ -z '$(HOST)' ] || [ -z '$(SEGMENT)' ]; then echo 'usage: make $@ HOST=rte01 SEGMENT=lan' >&2; exit 2; fi
	@$(LAB) $(@:lab-%=%) --name '$(NAME)' '$(HOST)' '$(SEGMENT)'

lab-kill: ## kill a program: make lab-kill HOST=rte01 PROGRAM=rempartd, rempart-ha-worker (it is started again at once) or rempart-ha (it is not)
	$(NEEDS_ROOT)
	@if [ -z '$(HOST)' ]; then echo 'usage: make $@ HOST=rte01 PROGRAM=rempart-ha-worker' >&2; exit 2; fi
	@$(LAB) kill --name '$(NAME)' '$(HOST)' '$(PROGRAM)'

lab-power-off lab-power-on: ## the power of a router fails (of the active one, unless HOST names another), returns (of each that is off)
	$(NEEDS_ROOT)
	@$(LAB) $(@:lab-%=%) --name '$(NAME)' $(if $(HOST),'$(HOST)')

lab-freeze lab-thaw: ## a host stands still, goes on: make lab-freeze HOST=rte01
	$(NEEDS_ROOT)
	@if [ -z '$(HOST)' ]; then echo 'usage: make $@ HOST=rte01' >&2; exit 2; fi
	@$(LAB) $(@:lab-%=%) --name '$(NAME)' '$(HOST)'

lab-status: ## the standing labs and their hosts
	@test -x '$(LAB)' || { echo 'the lab is not built: make lab-up' >&2; exit 1; }
	@$(LAB) status

lab-down: ## remove a standing lab, also one whose process was killed
	$(NEEDS_ROOT)
	@test -x '$(LAB)' || $(CARGO) build -p rempart-lab $(CARGO_PROFILE)
	@$(LAB) down --name '$(NAME)'

# The image.
IMAGE := $(TARGET)/image/out

image-setup:
	@image/setup

image: ## the bootable image, in target/image/out (as root on Debian; some minutes the first time)
	@$(MAKE) --no-print-directory image-setup
	@image/build

image-again: ## the same from nothing but the compiled programs, and compared: every byte must be the same
	@image/build --again
	@cd '$(IMAGE)' && sha256sum rempart-*.raw | (cd '$(IMAGE)-again' && sha256sum --check)
	@cd '$(IMAGE)' && sha256sum --check rempart-*.sha256 && cmp rempart-*.sha256 '$(IMAGE)-again'/rempart-*.sha256

qemu: ## boot the image in this terminal, by UEFI or FIRMWARE=bios; STICK=folder with rempart.toml and node (Ctrl-A X ends)
	@image/run one

qemu-pair: ## two boxes with WAN, LAN and sync cables, a client and a provider, in a terminal with panes (Ctrl-B D ends)
	@image/run pair

flash: ## write the image to a disk or stick and verify it: make flash DEV=/dev/sdX (YES=1 asks nothing)
	@image/flash '$(DEV)'

# Without root the tests that need namespaces would skip themselves one by one: a run that proves little.
test: ## format, lints and all tests, those of the image's short share among them
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup image-setup
	@tests/setup/clients.sh '$(TARGET)/stock' 2.7
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace --bins
	@image/build --test
	$(CARGO) test --workspace -- --test-threads=$(TEST_THREADS)
	$(CARGO) test -p rempart-end-to-end -- --ignored --test-threads=1 $(MEASURED)

test-full: export REMPART_FULL = 1
test-full: ## the same with the long property suites
	@$(MAKE) --no-print-directory test

test-pair: ## take-overs of every kind, measured: wants the machine for itself
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup
	$(CARGO) build --workspace --bins
	$(CARGO) test -p rempart-end-to-end -- --include-ignored --test-threads=1 pair

test-vpn: ## remote access with stock clients, take-overs measured: wants the machine for itself
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup setup-clients
	$(CARGO) build --workspace --bins
	$(CARGO) test -p rempartd --lib vpn
	$(CARGO) test -p rempartd --test vpn --test people --test replica -- --include-ignored --test-threads=1
	$(CARGO) test -p rempart-end-to-end -- --include-ignored --test-threads=1 vpn

# The image's kernel has the driver, which the building machine's need not.
test-ovpn: ## the kernel's own data channel of OpenVPN, on the image's kernel in an emulated machine, with the stock client (some minutes, and the image's test build)
	@$(MAKE) --no-print-directory setup image-setup
	@test -e '$(TARGET)/image/work-test/vmlinuz' || image/build --test
	@tests/ovpn/run '$(TARGET)/image/work-test' rempart-system:ovpn rempart-tunnel:ovpn rempartd:vpn:kernel::

test-image-short: ## builds an image with the debug programs and starts it twice: UEFI, console, policy, every program in its profile
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup image-setup
	@image/build --test
	$(CARGO) test -p rempart-image-tests -- --test-threads=$(TEST_THREADS)

# The image for tests, and the one that it is updated to.
test-images:
	@$(MAKE) --no-print-directory setup image-setup
	@image/build --test
	@IMAGE_VERSION=0.1.1 image/build --test

# Two machines at a time keep two processors busy.
test-image: ## what must hold of any image: UEFI, BIOS, a pair set up on its consoles and its fail-over, updates, twenty power cuts, changed bits, the kernel's features (half an hour)
	@$(MAKE) --no-print-directory test-images
	@$(MAKE) --no-print-directory test-ovpn
	$(CARGO) test -p rempart-image-tests -- --include-ignored --nocapture --test-threads=$(TEST_THREADS) $(addprefix --skip ,$(IMAGE_MORE) whole:: figures::)

# The figures want the processors for one machine.
test-image-more: ## what test-image leaves out: the stick, the update of a pair, the set-up of one box, Secure Boot, TPM, lost state, the watchdog, broken settings, the README's figures (three quarters of an hour)
	@$(MAKE) --no-print-directory test-images
	$(CARGO) test -p rempart-image-tests -- --include-ignored --nocapture --test-threads=$(TEST_THREADS) $(IMAGE_MORE)
	$(CARGO) test -p rempart-image-tests -- --include-ignored --nocapture figures::

bench: ## the benchmarks
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup
	$(CARGO) build --release --workspace --bins
	$(CARGO) run --release -p rempart-bench

bench-large: ## a million connections between two nodes: bulk copy, and memory of both (4 GB of memory, some minutes)
	$(NEEDS_ROOT)
	@$(MAKE) --no-print-directory setup
	$(CARGO) run --release -p rempart-bench -- pair.large

fuzz: ## feed noise to a parser (tests/fuzz/*.rs): make fuzz FUZZ_TARGET=document FUZZ_SECONDS=600
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo 'installing cargo-fuzz'; $(CARGO) install --locked cargo-fuzz; }
	@rustc +nightly --version >/dev/null 2>&1 || { \
	  echo 'fuzzing needs a nightly toolchain (sanitizers): rustup toolchain install nightly --profile minimal' >&2; exit 1; }
	cd tests && $(CARGO) +nightly fuzz run --fuzz-dir fuzz $(FUZZ_TARGET) -- -max_total_time=$(FUZZ_SECONDS)

fuzz-vpn: ## the same for every parser of remote access, one after the other: make fuzz-vpn FUZZ_SECONDS=600 (two hours)
	@for target in $(VPN_TARGETS); do \
	  $(MAKE) --no-print-directory fuzz FUZZ_TARGET=$$target FUZZ_SECONDS='$(FUZZ_SECONDS)' || exit 1; done

deny: ## licences, advisories and sources of the dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
	  echo 'cargo-deny is not installed: cargo install --locked cargo-deny' >&2; exit 1; }
	$(CARGO) deny check

clean: ## remove what was built
	$(CARGO) clean
