#!/bin/sh
# Other versions of the stock openvpn than this machine's, each from the Debian suite that has it, in a root of its own:
# the package and what it needs, unpacked, none of their scripts run. Nothing of the machine is changed.
#
# usage: clients.sh FOLDER VERSION...      VERSION is 2.5 or 2.7; FOLDER/openvpn-VERSION is made where it is not there yet
set -eu
PATH="$PATH:/usr/sbin:/sbin"
umask 022

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

suite_of() {
    case $1 in
    2.5) echo bullseye ;;
    2.7) echo forky ;;
    *) die "no Debian suite is known to have openvpn $1" ;;
    esac
}

# The mirror that this machine's own suite comes from has the others, too.
mirror() {
    own=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suite="$own" '$1 == suite { print $2; exit }'
}

make_root() { # folder, version
    suite=$(suite_of "$2")
    mirror=$(mirror)
    [ -n "$mirror" ] || die 'no package source of this machine says where its Debian comes from: apt-get update'
    say "unpacking openvpn $2 of Debian's $suite into $1"
    rm -rf "$1" "$1.new"
    mkdir -p "$(dirname "$1")"
    # A suite that is still made, or is not any more, may have lists that are past their date. They are signed all the same.
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" |
        mmdebstrap --mode=root --variant=extract --format=directory --quiet --include=openvpn \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
            --aptopt='Acquire::Check-Valid-Until "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            "$suite" "$1.new" - >&2
    # Where libraries are by their old names, in suites whose base makes these links in a script that is not run.
    for part in bin lib lib64 sbin; do
        [ -e "$1.new/$part" ] || [ ! -d "$1.new/usr/$part" ] || ln -s "usr/$part" "$1.new/$part"
    done
    found=$(chroot "$1.new" /usr/sbin/openvpn --version | awk 'NR == 1 { print $2 }') || :
    case $found in
    "$2".*) mv "$1.new" "$1" ;;
    *) die "that suite has openvpn ${found:-(which does not start)} instead of $2" ;;
    esac
}

[ "$(id -u)" -eq 0 ] || die 'unpacking a root file system needs root'
folder=$1
shift
for version in "$@"; do
    [ -x "$folder/openvpn-$version/usr/sbin/openvpn" ] || make_root "$folder/openvpn-$version" "$version"
done
