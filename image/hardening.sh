#!/bin/sh
# hardening.sh ROOT: the last touches to the root file system of the image, once the packages, rootfs-overlay/ and systemd/ are
# in it and its accounts are made: what cannot be laid over, but has to be taken away (ANSSI-BP-028). It then looks whether
# anything is left, and fails if so. Runs on the machine that builds, as root, and starts nothing in ROOT.
#
# hardening.sh --check ROOT: looks only.
# hardening.sh --cmdline: prints the words of cmdline.hardening in one line.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
say() { printf 'hardening: %s\n' "$*" >&2; }

cmdline() {
    sed 's/#.*//' "$here/cmdline.hardening" | tr -s '[:space:]' ' ' | sed 's/^ //; s/ $//'
    echo
}

# R38 to R44, R56, R57: ways to become somebody else.
becoming="usr/bin/su usr/bin/sudo usr/bin/pkexec usr/bin/newgrp usr/bin/sg usr/bin/chsh usr/bin/chfn usr/bin/chage usr/bin/expiry
usr/bin/gpasswd usr/bin/passwd usr/sbin/runuser usr/bin/run0 usr/bin/doas usr/lib/polkit-1/polkit-agent-helper-1
usr/lib/openssh/ssh-keysign usr/lib/dbus-1.0/dbus-daemon-launch-helper usr/sbin/sulogin usr/bin/login usr/bin/at
usr/bin/crontab usr/sbin/agetty usr/sbin/getty"
# R58, R59: what makes or fetches programs.
making="usr/bin/apt usr/bin/apt-get usr/bin/apt-cache usr/bin/apt-config usr/bin/apt-key usr/bin/apt-mark usr/bin/apt-cdrom
usr/bin/dpkg usr/bin/dpkg-deb usr/bin/dpkg-query usr/bin/gcc usr/bin/cc usr/bin/ld usr/bin/gdb usr/bin/strace usr/bin/perl
usr/bin/python3 usr/sbin/sendmail"
# R51: secrets that a package's script made on the machine that builds.
secrets="etc/ssh/ssh_host_rsa_key etc/ssh/ssh_host_ecdsa_key etc/ssh/ssh_host_ed25519_key etc/ssl/private/ssl-cert-snakeoil.key
var/lib/systemd/random-seed var/lib/dbus/machine-id"
# R30, R34: accounts that somebody may open; all others get no shell.
people="admin"

remove() {
    for path in "$@"; do
        rm -f "$root/$path"
    done
}

# No setuid, no setgid, no capabilities in files.
strip_rights() {
    find "$root" -xdev -type f -perm /6000 -exec chmod ug-s {} +
    command -v setcap >/dev/null 2>&1 || { say "setcap is missing (Debian package libcap2-bin)"; exit 1; }
    getcap -r "$root" 2>/dev/null | cut -d' ' -f1 | while read -r file; do
        setcap -r "$file"
    done
    find "$root" -xdev -type f -perm /0002 -exec chmod o-w {} +
    find "$root" -xdev -type d -perm -0002 ! -perm -1000 -exec chmod o-w {} +
}

# root and the services have neither password nor shell.
close_accounts() {
    awk -F: -v OFS=: -v people=" $people " \
        'index(people, " " $1 " ") == 0 { $7 = "/usr/sbin/nologin" } { print }' "$root/etc/passwd" >"$root/etc/passwd.new"
    cat "$root/etc/passwd.new" >"$root/etc/passwd"
    awk -F: -v OFS=: '{ $2 = "*"; print }' "$root/etc/shadow" >"$root/etc/shadow.new"
    cat "$root/etc/shadow.new" >"$root/etc/shadow"
    rm -f "$root/etc/passwd.new" "$root/etc/shadow.new" "$root/etc/passwd-" "$root/etc/shadow-" "$root/etc/group-" \
        "$root/etc/gshadow-" "$root/etc/subuid" "$root/etc/subgid"
    chmod 644 "$root/etc/passwd" "$root/etc/group"
    chmod 640 "$root/etc/shadow"
    [ ! -e "$root/etc/gshadow" ] || chmod 640 "$root/etc/gshadow"
}

# What belongs to no account of the image belongs to root.
adopt() {
    users=$(cut -d: -f3 "$root/etc/passwd" | sort -un | tr '\n' ' ')
    groups=$(cut -d: -f3 "$root/etc/group" | sort -un | tr '\n' ' ')
    find "$root" -xdev -printf '%U %G %p\n' | while read -r user group path; do
        case " $users" in *" $user "*) ;; *) chown -h 0 "$path" ;; esac
        case " $groups" in *" $group "*) ;; *) chgrp -h 0 "$path" ;; esac
    done
}

# The audit reads how the kernel was built (R15 to R25); its own copy goes with what is only needed for building.
keep_kernel_config() {
    for config in "$root"/usr/lib/modules/*/config; do
        [ ! -f "$config" ] || install -D -m644 "$config" "$root/usr/lib/rempart/kernel-config"
    done
}

# Only our programs have a profile: the hundred others that come with the package are for programs that are not here, and
# each is compiled at every start.
our_profiles() {
    for profile in "$root"/etc/apparmor.d/*; do
        case ${profile##*/} in
        rempart | rempartd | rempart-ha | rempart-update | rempart-vpn) ;;
        *) [ ! -f "$profile" ] || rm -f "$profile" ;;
        esac
    done
}

# Fails and says why for each thing that is left.
check() {
    bad=$(
        find "$root" -xdev -type f -perm /6000 -printf 'R56 setuid or setgid: %P\n'
        find "$root" -xdev -type f -perm /0002 -printf 'R54 writable by all: %P\n'
        find "$root" -xdev -type d -perm -0002 ! -perm -1000 -printf 'R54 writable by all: %P\n'
        getcap -r "$root" 2>/dev/null | sed 's/^/R56 capabilities in a file: /'
        for path in $becoming; do [ ! -e "$root/$path" ] || echo "R38 a way to become somebody else: $path"; done
        for path in $making; do [ ! -e "$root/$path" ] || echo "R58 makes or fetches programs: $path"; done
        for path in $secrets; do [ ! -e "$root/$path" ] || echo "R51 a secret in the image: $path"; done
        [ ! -e "$root/etc/apt" ] || echo "R59 a source of packages: etc/apt"
        awk -F: -v people=" $people " 'index(people, " " $1 " ") == 0 && $7 !~ /(nologin|false)$/ { print "R34 a shell: " $1 }' \
            "$root/etc/passwd"
        awk -F: '$2 !~ /^[!*]/ { print "R30 a password: " $1 }' "$root/etc/shadow"
        grep -lE 'pam_(ldap|krb5|radius|winbind|sss|nis)' "$root"/etc/pam.d/* 2>/dev/null | sed "s,^$root/,R67 asks another machine: ,"
    ) || :
    [ -z "$bad" ] && return
    printf '%s\n' "$bad" >&2
    exit 1
}

case ${1:-} in
--cmdline)
    cmdline
    exit
    ;;
--check) only_check=1; shift ;;
*) only_check= ;;
esac
[ $# -eq 1 ] && [ -d "$1/etc" ] && [ -d "$1/usr" ] || { say "usage: hardening.sh [--check] ROOT | --cmdline"; exit 2; }
root=$(cd "$1" && pwd)
# Never the machine that builds.
[ "$root" != / ] || { say "not on the running system"; exit 2; }

if [ -z "$only_check" ]; then
    # The names are words.
    # shellcheck disable=SC2086
    remove $becoming $making $secrets
    rm -rf "$root/etc/apt" "$root/usr/lib/apt" "$root/etc/cron.d" "$root/etc/cron.daily" "$root/etc/sudoers.d" \
        "$root/etc/ssh/sshd_config.d" "$root/etc/update-motd.d" "$root/etc/securetty" "$root/etc/init.d" "$root/etc/network"
    keep_kernel_config
    our_profiles
    close_accounts
    adopt
    strip_rights
fi
check
say "$root is as it should be"
