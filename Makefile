# Two commands do all the set-up: `make demo` and `make test`. Both install tools (apt, a virtual
# environment in .venv) and change nothing else on this machine: no clock, no firewall, no network.

PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Kernel and host tests make namespaces and boot containers, which takes root.
AS_ROOT := $(SUDO) env PATH="$$PATH"
DEB_TOOLS := dpkg-dev debhelper dh-python pybuild-plugin-pyproject python3-all python3-hatchling python3-yaml lintian
APT := python3 python3-venv python3-nftables nftables iptables iproute2 conntrack procps \
       util-linux e2fsprogs git ipset openssh-client mmdebstrap systemd-container strace zsh fish man-db mandoc \
       busybox dash shellcheck $(DEB_TOOLS)
# Three workers on two cores: one boots hosts, and waits for them as often as not. A module is one worker's, for its tests share what is booted once; tests/conftest.py says
# which ones begin.
# What counts answers within milliseconds has the machine to itself.
ALONE := tests/kernel/test_probe_wire.py
# What hangs fails after that many seconds; with a worker that dies all ends, or what killed it would be run again.
SIDE_BY_SIDE := -n 3 --dist loadscope --no-loadscope-reorder --max-worker-restart=0 --timeout=1500
# The roots of the hosts that `make test` boots (tests/lab/roots.py).
ROOTS := base sysv-bare sysv chrony ntp ntpsec openntpd timesyncd ssh ssh-sudo git sysv-ntp sysv-ntpsec sysv-ssh \
	iptables-chrony iptables-ntp iptables-ntpsec
# A browser is large, and only the report's page needs one.
BROWSER := chromium chromium-driver
PEERS := nftgen aerleon capirca
EMULATOR := qemu-system-x86
STAMP := build/.installed-$(shell cat pyproject.toml Makefile | sha256sum | cut -c1-12)

.DEFAULT_GOAL := help
.PHONY: help demo deb wheelhouse test test-all test-hosts test-report test-ansible ansible-sanity emulator browser lint roots unit fuzz bench vagrant-test gallery man clean

help:
	@echo "make demo   policies/ntp-client.yaml on a throw-away host with a real time daemon, probed"
	@echo "make deb    build/fwpolicy_VERSION_all.deb, for Debian 12 and newer"
	@echo "make wheelhouse  build/wheelhouse: our wheel and all that it needs, for hosts without a network"
	@echo "make test   linters, types, layers and the tests; the kernel's as root"
	@echo "make test-all  those that take longer, too: other tools' firewalls, the script on booted hosts, OpenRC,"
	@echo "            a kill before every write, the plug pulled at every step, every shell with every backend"
	@echo "make test-hosts  only booted hosts, all of them: the whole matrix of backends, daemons and modes, every kind"
	@echo "            of boot, Debian 11 and 13, a machine with a kernel of its own (docs/hosts.md)"
	@echo "make test-report  the report's page in a headless chromium, with new screenshots in build/"
	@echo "make test-ansible  the Ansible collection on booted hosts; make ansible-sanity: ansible-test, whole"
	@echo "make lint   only ruff, mypy and the import layers"
	@echo "make unit   only the tests that need no root"
	@echo "make vagrant-test  four machines by vagrant/Vagrantfile, rebooted and probed: PROVIDER=lxc (the default)"
	@echo "make fuzz   more random rulesets against the kernel: SEED=number ROUNDS=number"
	@echo "make man    the manual pages anew, from the verbs and the table of keys"
	@echo "make bench  start-up, compiling, proofs, fleets, apply, status and packets, side by side with peers"

$(STAMP): pyproject.toml Makefile
	@dpkg -s $(APT) >/dev/null 2>&1 || \
	    { $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(APT); }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@mkdir -p build && touch $@

# The same bytes each time: of the time that deploy/debian/changelog says. Built by the distribution's Python, of a copy.
BUILD ?= build
PACKED := fwpolicy policies docs pyproject.toml README.md CHANGELOG.md LICENSE \
	$(addprefix deploy/,ansible github gitlab-ci.yml pipeline.sh push-ansible.sh comment.py)
deb:
	@dpkg -s $(DEB_TOOLS) >/dev/null 2>&1 || \
	    { $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(DEB_TOOLS); }
	rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb/fwpolicy
	tar --create --exclude=__pycache__ $(PACKED) --directory=deploy debian | tar --extract --touch --directory=$(BUILD)/deb/fwpolicy
	cd $(BUILD)/deb/fwpolicy && env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
	    dpkg-buildpackage --build=all --no-sign --no-check-builddeps
	mv $(BUILD)/deb/fwpolicy_*_all.deb $(BUILD)/

wheelhouse: $(STAMP)
	$(BIN)/python -m tests.packages.wheelhouse $(BUILD)/wheelhouse

demo: $(STAMP)
	$(AS_ROOT) $(BIN)/python -m tests.lab.demo

test: $(STAMP)
	@$(MAKE) --no-print-directory --jobs=2 lint roots
	$(AS_ROOT) $(BIN)/python -m pytest $(ALONE) $(PYTEST_ARGS)
	$(AS_ROOT) $(BIN)/python -m pytest -m 'not slow' --ignore=$(ALONE) $(SIDE_BY_SIDE) $(PYTEST_ARGS)

# While nothing else wants the machine; a root that is not here is made by the first test that boots it.
roots: $(STAMP)
	$(AS_ROOT) $(BIN)/python -m tests.lab.roots $(ROOTS)

# The report's page in a real browser.
test-report: $(STAMP) browser
	$(BIN)/python -m pytest -m browser tests/view $(PYTEST_ARGS)

browser: $(STAMP)
	@dpkg -s $(BROWSER) >/dev/null 2>&1 || \
	    { $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(BROWSER); }
	@$(BIN)/python -c 'import selenium' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'

test-all: $(STAMP) emulator browser lint
	$(AS_ROOT) $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-hosts: $(STAMP) emulator
	$(AS_ROOT) $(BIN)/python -m pytest tests/hosts $(PYTEST_ARGS)

emulator:
	@dpkg -s $(EMULATOR) >/dev/null 2>&1 || \
	    { $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(EMULATOR); }

test-ansible: $(STAMP)
	$(AS_ROOT) $(BIN)/python -m pytest tests/test_ansible_collection.py tests/hosts/test_ansible.py tests/hosts/test_ansible_fleet.py $(PYTEST_ARGS)

# ansible-test fetches what it needs.
ansible-sanity: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" sh deploy/ansible/sanity.sh build/ansible-sanity

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/python -m pytest -m 'not kernel and not hosts and not browser' $(SIDE_BY_SIDE) $(PYTEST_ARGS)

ifndef SEED
SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
endif
ROUNDS ?= 3000
fuzz: $(STAMP)
	@echo "SEED=$(SEED) ROUNDS=$(ROUNDS)"
	$(AS_ROOT) SEED=$(SEED) ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/kernel/test_model.py $(PYTEST_ARGS)

# A peer that cannot be installed is named by the benchmark, and left out.
bench: $(STAMP)
	@dpkg -s ferm >/dev/null 2>&1 || $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ferm || true
	@test -x build/peers/bin/python || $(PYTHON) -m venv build/peers
	@for peer in $(PEERS); do build/peers/bin/python -m pip install --quiet --disable-pip-version-check $$peer || true; done
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/compile.py
	$(BIN)/python bench/prove.py
	$(BIN)/python bench/fleet.py
	$(AS_ROOT) $(BIN)/python bench/apply.py
	$(AS_ROOT) $(BIN)/python bench/status.py
	$(AS_ROOT) $(BIN)/python bench/purge.py
	$(AS_ROOT) $(BIN)/python bench/datapath.py

# lxc takes root, for containers in namespaces of their own; the other providers are the user's.
PROVIDER ?= lxc
vagrant-test: $(STAMP)
ifeq ($(PROVIDER),lxc)
	$(SUDO) sh vagrant/lxc-packages.sh
	$(AS_ROOT) $(BIN)/python -m tests.lab.vagrant lxc
else
	$(BIN)/python -m tests.lab.vagrant $(PROVIDER)
endif

gallery: $(STAMP)
	$(BIN)/python -m tests.policy.update_gallery

man: $(STAMP)
	$(BIN)/python -m tests.reference.update_man

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
