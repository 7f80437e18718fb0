//! Whether a nonce was used twice (invariant I4): every data packet of the gateways as the client's network has it, opened with the
//! keys that both nodes hold.

use std::collections::BTreeMap;
use std::process::Command;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::parts::{Made, random};
use crate::stage::{Stage, Stock};

/// First byte of a data packet without its key id.
const DATA_V2: u8 = 9 << 3;
const HEADER: usize = 8;
const TAG: usize = 16;

/// A capture on the device where the client's packets come from either gateway.
pub struct Capture {
    capture: rempart_lab::capture::Capture,
    _file: tempfile::TempPath,
}

impl Capture {
    pub fn begin(stage: &Stage) -> Self {
        for node in &stage.nodes {
            node.place.sh("ip link set dev wan gso_max_segs 1");
        }
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut tcpdump = Command::new("nsenter");
        tcpdump.args(["-t", &stage.client.pid().to_string(), "-n", "--", "tcpdump"]);
        let capture =
            rempart_lab::capture::Capture::start(tcpdump, "wan", "udp src port 1194", &file).unwrap();
        Self { capture, _file: file }
    }

    fn findings(self, stage: &Stage) -> Findings {
        let found = audit(&self.end(), &stage.pair.made());
        eprintln!("audit: {found:?}");
        found
    }

    /// The data packets that were seen.
    fn end(self) -> Vec<Vec<u8>> {
        let payloads = self.capture.stop().unwrap().into_iter().map(|datagram| datagram.payload);
        payloads.filter(|payload| payload.len() >= HEADER + TAG && payload[0] & 0xf8 == DATA_V2).collect()
    }

    /// Ends, and fails unless every packet was sealed under a known key, each with a number of its own. How many there were under
    /// how many keys.
    pub fn audit(self, stage: &Stage) -> (usize, usize) {
        let found = self.findings(stage);
        assert_eq!((found.repeated.as_slice(), found.unknown), (&[][..], 0));
        (found.sealed.values().sum(), found.sealed.len())
    }
}

/// What an audit has found.
#[derive(Debug, Default)]
struct Findings {
    /// How many packets, by the place of their key among all keys.
    sealed: BTreeMap<usize, usize>,
    /// Under which key, and with which packet id, something was sealed again.
    repeated: Vec<(usize, u32)>,
    /// Packets that no key opens.
    unknown: usize,
}

fn audit(packets: &[Vec<u8>], keys: &[Made]) -> Findings {
    let (mut found, mut seen) = (Findings::default(), std::collections::BTreeSet::new());
    for packet in packets {
        let (key_id, peer) = (packet[0] & 7, u32::from_be_bytes([0, packet[1], packet[2], packet[3]]));
        let id = u32::from_be_bytes(*packet[4..].first_chunk().unwrap());
        let fits = |made: &Made| (made.peer, made.key_id) == (peer, key_id) && opens(made, packet);
        match keys.iter().position(fits) {
            None => found.unknown += 1,
            Some(key) => {
                *found.sealed.entry(key).or_default() += 1;
                if !seen.insert((key, id)) {
                    found.repeated.push((key, id));
                }
            }
        }
    }
    found
}

fn key(made: &Made, packet: &[u8]) -> (LessSafeKey, Nonce, Aad<[u8; HEADER]>) {
    let nonce: Vec<u8> = packet[4..HEADER].iter().chain(&made.iv).copied().collect();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &made.key).unwrap());
    (key, Nonce::try_assume_unique_for_key(&nonce).unwrap(), Aad::from(*packet.first_chunk().unwrap()))
}

fn opens(made: &Made, packet: &[u8]) -> bool {
    let (key, nonce, header) = key(made, packet);
    let mut text = [&packet[HEADER + TAG..], &packet[HEADER..HEADER + TAG]].concat();
    key.open_in_place(nonce, header, &mut text).is_ok()
}

fn seal(made: &Made, id: u32, text: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = made.peer.to_be_bytes();
    let mut packet = [&[DATA_V2 | made.key_id, a, b, c][..], &id.to_be_bytes()].concat();
    let (key, nonce, header) = key(made, &packet);
    let mut text = text.to_vec();
    let tag = key.seal_in_place_separate_tag(nonce, header, &mut text).unwrap();
    packet.extend([tag.as_ref(), &text].concat());
    packet
}

/// In: packets under two keys of one session and one key id, one number twice under the same key; one packet of nobody's. Out: that
/// one number, and that one packet.
#[test]
fn an_audit_finds_a_nonce_that_is_used_twice() {
    let made = || Made { peer: 7, key_id: 1, key: random(), iv: random() };
    let (one, two, nobody) = (made(), made(), made());
    let mut packets =
        vec![seal(&one, 1, b"a"), seal(&one, 2, b"b"), seal(&two, 1, b"c"), seal(&two, 2, b"d")];
    let keys = [one.clone(), two.clone()];
    let found = audit(&packets, &keys);
    assert_eq!((found.repeated, found.unknown, found.sealed), (vec![], 0, BTreeMap::from([(0, 2), (1, 2)])));
    packets.extend([seal(&two, 2, b"another text"), seal(&nobody, 9, b"e")]);
    let found = audit(&packets, &keys);
    assert_eq!((found.repeated, found.unknown), (vec![(1, 2)], 1));
}

/// In: both gateways believe that they are active; the client's network leads to one, then to the other, and a third reign begins
/// over both. Out: packets of three reigns under the same keys, and no number twice.
#[test]
fn two_active_gateways_use_no_nonce_twice() {
    if !crate::stage::can() {
        return;
    }
    let stage = Stage::new(2, &crate::stage::plan());
    let client = stage.client_of(Stock::Own, "alice", "");
    client.up();
    let capture = Capture::begin(&stage);
    let talk = || stage.client.sh("ping -n -q -i 0.02 -c 20 -W 1 10.8.0.1 || true");
    talk();
    stage.pair.activate_too(1);
    stage.wait("the other one serves, too", |stage| stage.nodes[1].status().serving);
    assert!(stage.nodes[0].status().serving);
    for to in [1, 0, 1] {
        stage.move_addresses(to);
        talk();
    }
    stage.pair.activate_too(0);
    stage.move_addresses(0);
    stage.wait("it serves on", |stage| stage.nodes[0].status().sessions.len() == 1);
    talk();
    let (packets, keys) = capture.audit(&stage);
    assert!(packets >= 60 && keys >= 1, "{packets} packets under {keys} keys");
    client.up();
}

/// In: a gateway that has lost its record of epochs and draws one a second time, which its disk is there to prevent. Out: the audit
/// finds what follows from it, on the wire of the real server.
#[test]
fn an_epoch_that_is_drawn_twice_is_found() {
    if !crate::stage::can() {
        return;
    }
    let stage = Stage::new(2, &crate::stage::plan());
    let client = stage.client("alice", "");
    client.up();
    let capture = Capture::begin(&stage);
    stage.move_addresses(1);
    for _ in 0..2 {
        stage.pair.activate(1);
        stage.wait("it serves", |stage| stage.nodes[1].status().sessions.len() == 1);
        stage.client.sh("ping -n -q -i 0.02 -c 10 -W 1 10.8.0.1 || true");
        stage.pair.forget_epochs(1);
    }
    let found = capture.findings(&stage);
    assert!(!found.repeated.is_empty(), "{found:?}");
}
