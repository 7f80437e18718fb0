//! What only the image's own kernel can show: that what the plan may ask for is there.

use rempart_image_tests::{BOOT, Firmware};

use crate::{Site, image};

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

/// Two hosts and a router between them, in namespaces of the box.
const STAGE: &str = "for n in a r b; do ip netns add $n; ip -n $n link set lo up; done
ip -n a link add name ar type veth peer name ra netns r
ip -n b link add name br type veth peer name rb netns r
ip -n a addr add 10.9.1.2/24 dev ar; ip -n r addr add 10.9.1.1/24 dev ra
ip -n b addr add 10.9.2.2/24 dev br; ip -n r addr add 10.9.2.1/24 dev rb
for l in 'a ar' 'r ra' 'r rb' 'b br'; do set -- $l; ip -n $1 link set dev $2 up; done
ip -n a route add default via 10.9.1.1; ip -n b route add default via 10.9.2.1
ip netns exec r sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
reaches a 10.9.2.2";
/// A command in one of them, and whether one reaches an address.
const WORDS: &str = "at() { n=$1; shift; ip netns exec $n \"$@\"; }
reaches() { at $1 busybox ping -c 1 -W 10 $2 >/dev/null; }";

/// A feature, and traffic through it between the hosts of [`STAGE`].
const TRAFFIC: &[(&str, &str)] = &[
    (
        "VLAN",
        "for l in 'a ar 2' 'r ra 1'; do set -- $l
         ip -n $1 link add link $2 name v40 type vlan id 40; ip -n $1 addr add 10.9.40.$3/24 dev v40; ip -n $1 link set dev v40 up; done
         reaches a 10.9.40.1",
    ),
    (
        "bond",
        "for n in a b; do ip -n $n link add name bond9 type bond mode active-backup miimon 100; done
         for m in m1 m2; do ip -n a link add name $m type veth peer name $m netns b
         for n in a b; do ip -n $n link set dev $m master bond9; done; done
         ip -n a addr add 10.9.9.1/24 dev bond9; ip -n b addr add 10.9.9.2/24 dev bond9
         for n in a b; do ip -n $n link set dev bond9 up; done
         reaches a 10.9.9.2; ip -n a link set dev m1 down; sleep 1; reaches a 10.9.9.2",
    ),
    (
        "ESP",
        "key=0x010203040506070809101112131415161718192021222324252627282930313233343536
         for n in a b; do
         ip -n $n xfrm state add src 10.9.1.2 dst 10.9.2.2 proto esp spi 1 mode transport aead 'rfc4106(gcm(aes))' $key 128
         ip -n $n xfrm state add src 10.9.2.2 dst 10.9.1.2 proto esp spi 2 mode transport aead 'rfc4106(gcm(aes))' $key 128; done
         for l in 'a out 10.9.1.2 10.9.2.2' 'a in 10.9.2.2 10.9.1.2' 'b out 10.9.2.2 10.9.1.2' 'b in 10.9.1.2 10.9.2.2'; do set -- $l
         ip -n $1 xfrm policy add src $3 dst $4 dir $2 tmpl proto esp mode transport; done
         reaches a 10.9.2.2; ip -n b -s xfrm state | grep -q ' 1(packets)'
         for n in a b; do ip -n $n xfrm policy flush; ip -n $n xfrm state flush; done",
    ),
    (
        // Four megabytes are some three thousand packets; the rules see the first ones of each direction. The receiver's input never
        // ends: busybox tells the sender when it does, who then goes.
        "flowtable",
        "at r nft 'add table inet t; add flowtable inet t f { hook ingress priority 0; devices = { ra, rb }; }; add chain inet t c { type filter hook forward priority 0; }; add rule inet t c ct state established meta l4proto tcp flow add @f; add rule inet t c counter'
         mkfifo /tmp/silent; at b busybox nc -l -p 7007 0<>/tmp/silent >/tmp/arrived &
         until at b ss -Hltn | grep -q :7007; do sleep 0.2; done
         at a sh -c 'head -c 4000000 /dev/zero | busybox nc 10.9.2.2 7007'; wait
         [ $(wc -c </tmp/arrived) = 4000000 ]
         seen=$(at r nft list chain inet t c | sed -n 's/.*counter packets \\([0-9]*\\).*/\\1/p'); echo seen $seen; [ $seen -lt 300 ]",
    ),
];

#[test]
#[ignore = "long: make test-image"]
fn what_a_plan_may_ask_the_kernel_for_is_there() {
    // Each feature is used for real on the image's kernel; all that fail are named together.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let mut machine = site.start(&site.spec(Firmware::Direct).words("rempart.modules=open"));
    let shell = machine.shell();
    shell.ready(BOOT);
    // The shell is there before udev has named the network cards.
    let named = shell.try_run(
        "until ip link show enp0s17 >/dev/null 2>&1; do sleep 1; done; systemctl is-system-running --wait",
        BOOT,
    );
    assert!(named.is_ok(), "no enp0s17: {named:?}");
    // Each in a shell of its own, because one that fails ends.
    let script = |text: &str| format!("( set -e\n{WORDS}\n{text} )");
    let stage = shell.try_run(&script(STAGE), BOOT);
    assert!(stage.as_ref().is_ok_and(|(code, _)| *code == 0), "the namespaces: {stage:?}");
    let traffic = TRAFFIC.iter().map(|(name, text)| (*name, script(text)));
    let features = FEATURES.iter().map(|(name, command)| (*name, (*command).to_owned()));
    let missing: Vec<String> = traffic
        .chain(features)
        .filter_map(|(name, command)| {
            let (code, said) = shell.try_run(&command, BOOT).expect("the shell answers");
            (code != 0).then(|| format!("{name}: `{command}` ended with {code}: {said}"))
        })
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    // No file gives rights, nobody has a shell (administrators have the console), and nothing waits for anybody on the networks.
    assert_eq!(shell.run("find / -xdev -type f -perm /6000"), "");
    assert_eq!(shell.run("grep -vE ':/usr/(sbin/nologin|lib/rempart/login)$' /etc/passwd || :"), "");
    let failed = shell.run("systemctl --failed --no-legend --plain");
    assert_eq!(failed, "", "failed units");
}
