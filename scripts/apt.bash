# shellcheck shell=bash
# Sourced by other scripts: installs Debian's packages.

# as_root COMMAND... - run it as root, through sudo where need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "not root and no sudo: can't run: $*" >&2
        return 1
    fi
}

# installed PACKAGE
installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# apt ARGUMENT... - apt-get, never asking, patient with mirrors and with others that hold its lock.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 --yes \
        -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# install_packages PACKAGE... - those that are missing. No service is started meanwhile: a registry or Docker daemon that
# a package starts by itself would stay, and take ports.
install_packages() (
    missing=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then
        exit 0
    fi
    if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
        echo "apt: missing, and only root can install them, with apt-get: ${missing[*]}" >&2
        exit 1
    fi
    echo "apt: installing ${missing[*]}"
    policy=/usr/sbin/policy-rc.d # what Debian asks before it starts a service
    log=$(mktemp)
    if [ -e "$policy" ]; then
        trap 'rm -f "$log"' EXIT
    else
        trap 'rm -f "$log"; as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    if ! { apt update && apt install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2
        echo "apt: could not be installed: ${missing[*]}" >&2
        exit 1
    fi
)
