//! What only the image's own kernel can show: that what the plan may ask for is there.

use rempart_image_tests::{BOOT, Cable, Disk, Firmware, Machine, Scratch, Spec};

use crate::{cables, image};

/// A feature, and the commands that use it.
const FEATURES: &[(&str, &str)] = &[
    ("VLAN", "ip link add link enp0s16 name v40 type vlan id 40"),
    (
        "bond",
        "ip link add bond9 type bond mode 802.3ad && ip link set enp0s17 down && ip link set enp0s17 master bond9",
    ),
    ("bridge", "ip link add br9 type bridge"),
    ("macvlan", "ip link add link enp0s16 name m9 address 00:00:5e:00:01:09 type macvlan mode bridge"),
    ("WireGuard", "ip link add wg9 type wireguard"),
    ("OpenVPN offload", "modprobe ovpn && ip link add ovpn9 type ovpn"),
    (
        "flowtable",
        "nft 'add table inet t; add flowtable inet t f { hook ingress priority 0; devices = { enp0s16, enp0s17 }; }; add chain inet t c { type filter hook forward priority 0; }; add rule inet t c meta l4proto { tcp, udp } flow add @f'",
    ),
    (
        "egress hook",
        "nft 'add table netdev n; add chain netdev n e { type filter hook egress device enp0s16 priority 0; }'",
    ),
    (
        "ESP",
        "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel aead 'rfc4106(gcm(aes))' 0x010203040506070809101112131415161718192021222324252627282930313233343536 128",
    ),
    ("xfrm interface", "ip link add x9 type xfrm dev enp0s16 if_id 9"),
    ("delay", "tc qdisc add dev enp0s16 root netem delay 1ms"),
    ("fair queueing", "tc qdisc replace dev enp0s16 root cake"),
    (
        "helpers",
        "modprobe -a nf_conntrack_ftp nf_conntrack_sip nf_conntrack_tftp nf_conntrack_pptp nf_nat_ftp",
    ),
    ("PPPoE", "modprobe pppoe"),
    ("watchdogs", "modprobe -n iTCO_wdt && modprobe -n sp5100_tco"),
    (
        "10G and common NICs",
        "modprobe -n -a igc igb ixgbe i40e ice e1000e r8169 tg3 bnxt_en atlantic r8152 vmxnet3",
    ),
];

#[test]
#[ignore = "long: make test-image"]
fn what_a_plan_may_ask_the_kernel_for_is_there() {
    // Each feature is used for real on the image's kernel; all that fail are named together.
    let Some(image) = image() else { return };
    let scratch = Scratch::new();
    let disk = Disk::flashed(&image, &scratch);
    let cables: [Cable; 2] = cables(&scratch);
    let spec = Spec { firmware: Firmware::Direct, disk: &disk, stick: None, tpm: None, cables: &cables };
    let mut machine = Machine::start(&image, &scratch, "fw", &spec);
    let shell = machine.shell();
    shell.ready(BOOT);
    // The shell is there before udev has named the network cards.
    let named = shell.try_run(
        "until ip link show enp0s17 >/dev/null 2>&1; do sleep 1; done; systemctl is-system-running --wait",
        BOOT,
    );
    assert!(named.is_ok(), "no enp0s17: {named:?}");
    let missing: Vec<String> = FEATURES
        .iter()
        .filter_map(|(name, command)| {
            let (code, said) = shell.try_run(command, BOOT).expect("the shell answers");
            (code != 0).then(|| format!("{name}: `{command}` ended with {code}: {said}"))
        })
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    // No file gives rights, nobody has a shell, and nothing waits for anybody on the networks.
    assert_eq!(shell.run("find / -xdev -type f -perm /6000"), "");
    assert_eq!(shell.run("grep -v nologin$ /etc/passwd || :"), "");
    let failed = shell.run("systemctl --failed --no-legend --plain");
    assert_eq!(failed, "", "failed units");
}
