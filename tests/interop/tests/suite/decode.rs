//! What we send, read by tcpdump and tshark: nothing malformed, every checksum right.

use std::fs;
use std::time::Duration;

use rempart_interop::{Stage, plan, router, until};
use rempart_plan::ha::{CarpPlan, ChecksumForm, RouterPlan, VirtualProtocol};

const SOON: Duration = Duration::from_secs(20);
/// What tcpdump and tshark say when they are not content.
const COMPLAINTS: [&str; 6] = ["bad", "invalid", "incorrect", "malformed", "wrong", "truncated"];

struct Heard {
    tcpdump: String,
    tshark: String,
    warnings: String,
}

/// Everything that ours sends while it takes the address and a second more, its announcements, adverts and farewell, as the
/// two programs read it.
fn heard(stage: &Stage, router: RouterPlan) -> Heard {
    let address = router.addresses.last().expect("an address").addr().to_string();
    let (carp, seconds) = match router.protocol {
        VirtualProtocol::Vrrp3 => (false, false),
        VirtualProtocol::Vrrp2 => (false, true),
        VirtualProtocol::Carp => (true, true),
    };
    let (capture, file) = stage.capture(&stage.client, "ip proto 112 or ip6 proto 112 or arp or icmp6");
    let ours = stage.elector(&stage.ours, &plan(0, vec![router]));
    until("ours is active", SOON, || Stage::holds(&stage.ours, &address) && stage.client.reaches(&address));
    // Three adverts at least.
    std::thread::sleep(Duration::from_millis(if seconds { 2300 } else { 1200 }));
    ours.end();
    std::thread::sleep(Duration::from_millis(200));
    capture.end();
    let file = file.display();
    let (as_carp, decode) = if carp { ("-T carp", "-d ip.proto==112,carp") } else { ("", "") };
    let filter = "ether src 00:00:5e:00:01:0a or ether src 00:00:5e:00:02:0a";
    let options = "-o ip.check_checksum:TRUE -o ipv6.use_geoip:FALSE";
    let tshark =
        |what: &str| stage.client.sh(&format!("tshark -n -r {file} {decode} {options} {what} 2>/dev/null"));
    Heard {
        tcpdump: stage.client.sh(&format!("tcpdump -n -vv {as_carp} -r {file} '{filter}' 2>/dev/null")),
        tshark: tshark("-Y 'eth.src[0:4]==00:00:5e:00' -V"),
        // Notes and chats are none: a gratuitous ARP is a note.
        warnings: tshark(
            "-Y 'eth.src[0:4]==00:00:5e:00 && (_ws.malformed || _ws.expert.severity >= 6291456)'",
        ),
    }
}

fn content(heard: &Heard, protocol: &str) {
    let Heard { tcpdump, tshark, warnings } = heard;
    assert!(warnings.is_empty(), "{warnings}");
    assert!(tcpdump.matches(protocol).count() >= 3, "tcpdump sees no {protocol}:\n{tcpdump}");
    assert!(tshark.len() > 1000, "{tshark}");
    for line in tcpdump.lines().chain(tshark.lines()) {
        // tshark names the flags that are not set.
        let complaint = COMPLAINTS.iter().find(|word| line.to_lowercase().contains(*word));
        assert!(complaint.is_none(), "{line}\n\n{tcpdump}\n{tshark}");
    }
}

/// In: VRRPv3 over IPv4 with the pseudo-header that both programs expect.
pub fn vrrp3_over_ipv4() {
    let router = RouterPlan { checksum: ChecksumForm::PseudoHeader, ..router(&["192.0.2.1/32"], 200) };
    let heard = heard(&Stage::new(), router);
    content(&heard, "VRRPv3, Advertisement");
    assert!(heard.tcpdump.contains("prio 0"), "a farewell: {}", heard.tcpdump);
    assert!(
        heard.tcpdump.contains("Request who-has 192.0.2.1")
            && heard.tcpdump.contains("Reply 192.0.2.1 is-at")
    );
}

/// In: the same as RFC 9568 has it, without. Out: both programs read RFC 5798 the other way and say so, and of nothing else.
pub fn vrrp3_over_ipv4_as_rfc_9568_has_it() {
    let router = RouterPlan { checksum: ChecksumForm::Rfc9568, ..router(&["192.0.2.1/32"], 200) };
    let heard = heard(&Stage::new(), router);
    assert!(heard.tcpdump.matches("(bad vrrp cksum").count() >= 3, "{}", heard.tcpdump);
    for line in heard.tcpdump.lines().chain(heard.tshark.lines()).map(str::to_lowercase) {
        let complaint = COMPLAINTS.iter().find(|word| line.contains(*word));
        assert!(complaint.is_none() || line.contains("cksum") || line.contains("checksum"), "{line}");
    }
}

/// In: VRRPv3 over IPv6.
pub fn vrrp3_over_ipv6() {
    let heard = heard(&Stage::new(), router(&["fe80::1/64", "2001:db8::1/128"], 200));
    content(&heard, "VRRPv3, Advertisement");
    assert!(heard.tcpdump.contains("neighbor advertisement"), "{}", heard.tcpdump);
    assert!(heard.tcpdump.contains("[icmp6 sum ok]"), "{}", heard.tcpdump);
}

/// In: VRRPv2, with a text password.
pub fn vrrp2() {
    let stage = Stage::new();
    let folder = stage.ours.folder().join("secrets");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("text"), "password").expect("written");
    let router = router(&["192.0.2.1/32"], 200);
    let auth = Some("text".to_owned());
    let heard =
        heard(&stage, RouterPlan { protocol: VirtualProtocol::Vrrp2, interval_cs: 100, auth, ..router });
    content(&heard, "VRRPv2, Advertisement");
    assert!(heard.tcpdump.contains("auth \"password\""), "{}", heard.tcpdump);
}

/// In: CARP.
pub fn carp() {
    let stage = Stage::new();
    let folder = stage.ours.folder().join("secrets");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("carp"), "secret").expect("written");
    let carp = Some(CarpPlan { advbase: 1, advskew: 0, password: "carp".into() });
    let router = router(&["192.0.2.1/32"], 200);
    let heard = heard(&stage, RouterPlan { protocol: VirtualProtocol::Carp, carp, ..router });
    content(&heard, "CARPv2-advertise");
}
