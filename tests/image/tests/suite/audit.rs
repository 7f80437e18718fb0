//! `rempart audit anssi` on a running box: what is broken there fails the line that it belongs to, and no other.

use std::collections::BTreeSet;

use rempart_image_tests::{Firmware, Frozen, Shell};

use crate::{Site, image};

/// What does not pass on the test's box, rightly: nobody has told it the time, the test's shell is a service that nobody knows, and SSH
/// is on without a flow that foresees it.
const NEVER: &[&str] = &["firewall-r27", "linux-r62", "linux-r80"];
/// The words of the shipped command line; the emulator's come behind them. The daemon sees them in its own namespace of mounts.
const SHIPPED: &str = "sed 's/ rdinit=.*//' /proc/cmdline >/run/words; nsenter -t $(pidof rempartd) -m mount --bind /run/words /proc/cmdline";
/// The test's document says of no flow what it is for.
const REASONS: &str = "sed -i 's/^id    = \"game\"/&\\nwhy = \"play\"\\nowner = \"desk\"/' /tmp/d.toml";
/// Another word on the command line; the file stays the same one, which is mounted.
const WORD: &str = "w() { sed \"$1\" /run/words >/run/changed; cat /run/changed >/run/words; }";
/// A file that nobody may read or write until somebody says so.
const FILE: &str = "umask 077; f() { echo >$1; chmod $2 $1; }";
/// A drop-in for a service: what is broken of all of them is read by systemd at one time, see [`READ`].
const UNIT: &str = "u() { mkdir -p /run/systemd/system/$1.d; printf '[Service]\\n%s\\n' \"$2\" >/run/systemd/system/$1.d/broken-$3.conf; }";
const READ: &str = "systemctl daemon-reload";

/// A line, and how somebody with root's rights breaks what it asks for. Left to the test of the table alone (`audit/rules`): what a
/// running box cannot change (its processor, its firmware, its kernel's options, what is locked until the next start), what lies on a
/// root that nobody can write to, what the control daemon sets again by itself, and the document's own lines, which are tested by documents.
const BROKEN: &[(&str, &str)] = &[
    ("linux-r6", "w 's/roothash=[0-9a-f]*//'"),
    ("linux-r7", "w 's/ iommu=force//'"),
    ("linux-r8", "w 's/ pti=on/ pti=off/'"),
    ("linux-r9", "echo 1 >/proc/sys/kernel/kptr_restrict"),
    ("linux-r11", "echo 0 >/proc/sys/kernel/yama/ptrace_scope"),
    ("linux-r12", "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"),
    ("linux-r13", "echo 3 >/proc/sys/net/ipv6/conf/default/router_solicitations"),
    ("linux-r14", "echo 1 >/proc/sys/fs/suid_dumpable"),
    ("linux-r15", "w 's/lockdown=confidentiality/lockdown=integrity/'"),
    ("linux-r18", "w 's/module.sig_enforce=1//'"),
    ("linux-r19", "w 's/ panic=[0-9]*/ panic=0/g'"),
    ("linux-r23", "w 's/nohibernate//'"),
    ("linux-r25", "w 's/ia32_emulation=0/ia32_emulation=1/'"),
    ("linux-r28", "mount -o remount,exec /tmp"),
    ("linux-r29", "ls /efi >/dev/null && mount -o remount,exec /efi"),
    ("linux-r30", "sed -i 's|^games:[^:]*|games:$6$salt$hash|' /etc/shadow"),
    (
        "linux-r32",
        "mkdir -p /etc/systemd/logind.conf.d; printf '[Login]\\nStopIdleSessionSec=\\n' >/etc/systemd/logind.conf.d/zz.conf",
    ),
    ("linux-r34", "sed -i '/^games:/s|[^:]*$|/bin/sh|' /etc/passwd"),
    ("linux-r36", "u rempart-vpn.service UMask=0022 mask"),
    ("linux-r45", "apparmor_parser --remove /etc/apparmor.d/rempart-update"),
    ("linux-r50", "chmod 644 /etc/shadow"),
    ("linux-r53", "f /etc/orphan 600; chown 54321 /etc/orphan"),
    ("linux-r54", "f /etc/open 666"),
    ("linux-r55", "u rempart-vpn.service PrivateTmp=no tmp"),
    ("linux-r56", "mkdir /run/loose && mount -t tmpfs loose /run/loose && f /run/loose/su 4755"),
    ("linux-r59", "mkdir /etc/apt"),
    ("linux-r64", "u rempart-vpn.service CapabilityBoundingSet=CAP_SYS_ADMIN capabilities"),
    ("linux-r65", "u rempart-ha.service ProtectHome=no home"),
    ("linux-r66", "echo 9 >/proc/sys/user/max_user_namespaces"),
    ("linux-r67", "echo 'auth required pam_ldap.so' >>/etc/pam.d/other"),
    ("linux-r69", "sed -i 's/^passwd:.*/passwd: files ldap/' /etc/nsswitch.conf"),
    (
        "linux-r71",
        "mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nStorage=volatile\\n' >/etc/systemd/journald.conf.d/zz.conf",
    ),
    (
        "linux-r79",
        "busctl set-property org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RuntimeWatchdogUSec t 0",
    ),
    ("ssh-r17", "sed -i '1i PasswordAuthentication yes' /etc/ssh/sshd_config"),
    ("ssh-r21", "sed -i '1i PermitRootLogin yes' /etc/ssh/sshd_config"),
    ("ssh-r27", "sed -i '1i AllowTcpForwarding yes' /etc/ssh/sshd_config"),
];

#[test]
#[ignore = "long: make test-image-more"]
fn what_is_broken_on_a_box_fails_its_own_line() {
    // Nothing broken, then the rounds: each setting is broken in those that its number has a bit for, so that no two settings are
    // broken in the same ones. In each round exactly the lines of what is broken fail. Every round begins with the same box.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let mut machine = site.first();
    let shell = machine.shell();
    shell.run(&format!(
        "{SHIPPED}; rempart show 1 >/tmp/d.toml; {REASONS}; rempart commit /tmp/d.toml --message reasons; rempart ssh on; until systemctl -q is-active ssh; do sleep 1; done"
    ));
    expect_failing(shell, NEVER.iter().copied().collect());
    let whole = Frozen::take(machine, &site.disk);
    let rounds = usize::BITS - BROKEN.len().leading_zeros();
    for round in 0..rounds {
        let broken = || BROKEN.iter().zip(1usize..).filter(|(_, n)| n >> round & 1 == 1).map(|(row, _)| row);
        whole.restore(&site.disk);
        let mut machine = site.start(&site.spec(Firmware::Direct).stick(&site.stick).frozen(&whole));
        let shell = machine.shell();
        shell.run(&format!("{WORD}; {FILE}; {UNIT}"));
        for (line, how) in broken() {
            let (code, said) = shell.try_run(how, rempart_image_tests::SOON).expect("an answer");
            assert_eq!(code, 0, "{line}: {how}: {said}");
        }
        shell.run(READ);
        expect_failing(shell, NEVER.iter().chain(broken().map(|(line, _)| line)).copied().collect());
    }
}

/// These lines fail, and no others.
#[track_caller]
fn expect_failing(shell: &mut Shell, wanted: BTreeSet<&str>) {
    let said = shell.run(
        "rempart --json audit anssi | grep -o '\"code\": *\"[^\"]*\"\\|\"result\": *\"[^\"]*\"' | cut -d '\"' -f 4 | paste -d ' ' - -",
    );
    let lines: Vec<_> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    assert!(lines.len() > BROKEN.len(), "no report: {said}");
    let fails = |result: &str| !["pass", "deviation", "not-applicable"].contains(&result);
    let failing: BTreeSet<_> =
        lines.into_iter().filter(|(_, result)| fails(result)).map(|(code, _)| code).collect();
    assert_eq!(failing, wanted, "{}", shell.run("rempart --lang en audit anssi || :"));
}
