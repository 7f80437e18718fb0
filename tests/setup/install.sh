#!/bin/sh
# Installs what building and testing Rempart need on Debian 12 and 13, and says what it installs. Starts no
# service: the servers of the lab are started by the lab. Does nothing when nothing is missing.
#
# usage: install.sh [--check]      --check only says what is missing, and fails if something is
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# Administrators' programs are not in everybody's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
[ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

say() { printf 'setup: %s\n' "$*" >&2; }

missing_packages() {
    while read -r package program _; do
        case $package in '' | '#'*) continue ;; esac
        command -v "$program" >/dev/null 2>&1 || printf '%s ' "$package"
    done <"$here/packages"
}

install_packages() {
    if [ "$(id -u)" -ne 0 ]; then
        say "these packages are missing: $*"
        say "installing them needs root: run \`sudo make setup\`, or as root: apt-get install $*"
        exit 1
    fi
    command -v apt-get >/dev/null 2>&1 || {
        say "these programs are missing, and this is no Debian: $*"
        exit 1
    }
    say "installing: $*"
    # A package's own service would listen on ports and answer on the machine's networks. invoke-rc.d asks this
    # program whether it may start one: 101 is "no" (invoke-rc.d(8)).
    policy=/usr/sbin/policy-rc.d
    ours=
    if [ ! -e "$policy" ]; then
        ours=1
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # A stale list of packages names versions that are gone.
    apt-get update -q >&2 || say "the list of packages could not be renewed; trying with the old one"
    apt-get install -q -y --no-install-recommends "$@" >&2
    # Nor at the next boot; what the machine's owner installed earlier is not touched.
    if command -v systemctl >/dev/null 2>&1; then
        for package in "$@"; do
            case $package in
            nginx | vsftpd | keepalived | conntrackd | freeradius | openvpn | samba-ad-dc) systemctl disable "$package.service" >/dev/null 2>&1 || : ;;
            openssh-server) systemctl disable ssh.service >/dev/null 2>&1 || : ;;
            samba-ad-provision) systemctl disable smbd.service nmbd.service winbind.service >/dev/null 2>&1 || : ;;
            esac
        done
    fi
    [ -z "$ours" ] || rm -f "$policy"
}

# The toolchain that Cargo.toml asks for: "1.95" as 1095.
number() { printf '%s\n' "$1" | awk -F. '{ print $1 * 1000 + $2 }'; }

check_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if command -v cargo >/dev/null 2>&1; then
        # In the folder of the workspace, so that rustup picks what it would pick there.
        version=$(cd "$root" && rustc --version 2>/dev/null | awk '{ print $2 }')
        if [ -n "$version" ] && [ "$(number "$version")" -ge "$(number "$wanted")" ]; then
            return
        fi
        say "rustc ${version:-(none)} is too old: Rempart needs $wanted or later"
    else
        say "there is no Rust toolchain: Rempart needs rustc $wanted or later"
    fi
    if [ -z "$check" ] && [ -z "${REMPART_SETUP_AGAIN:-}" ] && get_rust; then
        REMPART_SETUP_AGAIN=1 check_rust
        return
    fi
    cat >&2 <<TEXT
setup: Debian's own rustc is too old (1.63 in Debian 12, 1.85 in Debian 13). Rust comes by rustup:
  Debian 13:  apt-get install rustup && rustup default stable
  Debian 12:  rustup is not packaged; install it as https://rustup.rs says, for the user that runs make
  rustup is there but the toolchain is old:  rustup update stable
TEXT
    exit 1
}

# Gets a toolchain where that takes no program from outside Debian.
get_rust() {
    if ! command -v rustup >/dev/null 2>&1; then
        [ "$(id -u)" -eq 0 ] && apt-cache show rustup >/dev/null 2>&1 || return 1
        # Debian's cargo and rustup exclude one another.
        if dpkg -s cargo >/dev/null 2>&1; then
            say "Debian's package cargo stands in the way of its package rustup: apt-get remove cargo rustc"
            return 1
        fi
        install_packages rustup
    fi
    say "installing the stable Rust toolchain with rustup"
    rustup toolchain install stable --profile minimal -c rustfmt -c clippy >&2 && rustup default stable >&2
}

check=
[ "${1:-}" = --check ] && check=1

missing=$(missing_packages)
if [ -n "$missing" ]; then
    if [ -n "$check" ]; then
        say "missing packages: $missing"
        exit 1
    fi
    # The names are words.
    # shellcheck disable=SC2086
    install_packages $missing
    missing=$(missing_packages)
    [ -z "$missing" ] || {
        say "still missing after the installation: $missing"
        exit 1
    }
fi
check_rust
