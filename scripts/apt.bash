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
install_packages() {
    local package log policy=/usr/sbin/policy-rc.d status=0
    local -a missing=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here: install these by hand: ${missing[*]}" >&2
        return 1
    fi
    echo "apt: installing ${missing[*]}"
    if [ -e "$policy" ]; then
        policy=
    else
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    log=$(mktemp)
    { apt update && apt install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || status=$?
    if [ -n "$policy" ]; then
        as_root rm -f "$policy"
    fi
    if [ "$status" != 0 ]; then
        cat "$log" >&2
        echo "apt: ${missing[*]} could not be installed" >&2
    fi
    rm -f "$log"
    return "$status"
}
