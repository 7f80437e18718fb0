//! What a network really saw: UDP datagrams captured by tcpdump, and whether the wire shows a nonce of the VPN twice.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::Lab;

/// What is under way is written after so long.
const SETTLE: Duration = Duration::from_millis(300);
/// The kernel's room for packets that tcpdump has not read, in KiB.
const ROOM: &str = "65536";
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: usize = 14;
/// The longest payload of a single packet; a longer one is several that were not cut yet.
const LONGEST: usize = 1472;

/// A datagram as it was captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// To whom.
    pub to: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Lab {
    /// What comes in at a device of a host, as it is on the cable: the switch cuts the super-packets of whoever sends them.
    pub fn capture(&self, host: &str, device: &str, filter: &str) -> Result<Capture> {
        self.set_port(host, device, "gso_max_segs 1")?;
        let host = self.host(host);
        Capture::start(host.command("tcpdump"), device, filter, &host.run_dir().join("wire.pcap"))
    }
}

/// A capture under way. Dropping it ends tcpdump.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    said: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Capture {
    /// Of what comes in at a device. `command` is tcpdump where the device is, `file` is where the packets are kept. Whoever sends
    /// in super-packets has to cut them before: `ip link set dev DEVICE gso_max_segs 1`.
    pub fn start(mut command: Command, device: &str, filter: &str, file: &Path) -> Result<Self> {
        command.args(["-Z", "root", "-p", "-Q", "in", "-i", device, "-U", "-s", "0", "-B", ROOM, "-w"]);
        command.arg(file).args(filter.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tcpdump = command.spawn().context("tcpdump")?;
        let mut said = BufReader::new(tcpdump.stderr.take().context("a pipe")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let capture = Self { tcpdump, said, file: file.to_path_buf() };
        ensure!(line.contains("listening on"), "tcpdump says {line}");
        Ok(capture)
    }

    /// Ends; the datagrams that were seen. Fails if any was missed.
    pub fn stop(mut self) -> Result<Vec<Datagram>> {
        sleep(SETTLE);
        Command::new("kill").args(["-INT", &self.tcpdump.id().to_string()]).status()?;
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump says {said}");
        datagrams(&fs::read(&self.file)?)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// The datagrams of a file of tcpdump, of this machine's byte order and from Ethernet.
fn datagrams(file: &[u8]) -> Result<Vec<Datagram>> {
    let number =
        |at: usize| file.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_le_bytes(*b));
    ensure!((number(0), number(20)) == (Some(0xa1b2_c3d4), Some(1)), "another kind of file");
    let (mut at, mut found) = (FILE_HEADER, Vec::new());
    while let (Some(kept), Some(length)) = (number(at + 8), number(at + 12)) {
        ensure!(kept == length, "a packet of {length} bytes was not kept whole");
        let begin = at + RECORD_HEADER;
        at = begin + kept as usize;
        let Some(frame) = file.get(begin..at) else { break };
        found.push(datagram(frame).with_context(|| format!("{frame:02x?}"))?);
    }
    Ok(found)
}

fn datagram(frame: &[u8]) -> Result<Datagram> {
    let word =
        |at: usize| frame.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u16::from_be_bytes(*b));
    let (to, udp): (IpAddr, usize) = match word(12) {
        Some(0x0800) => {
            ensure!(word(ETHERNET + 6).is_some_and(|flags| flags & 0x3fff == 0), "a fragment");
            let address =
                frame.get(ETHERNET + 16..).and_then(|rest| rest.first_chunk::<4>()).context("IPv4")?;
            let header = frame.get(ETHERNET).map_or(0, |first| usize::from(first & 15) * 4);
            ((*address).into(), ETHERNET + header)
        }
        Some(0x86dd) => {
            let address =
                frame.get(ETHERNET + 24..).and_then(|rest| rest.first_chunk::<16>()).context("IPv6")?;
            (Ipv6Addr::from(*address).into(), ETHERNET + 40)
        }
        other => bail!("neither IPv4 nor IPv6: {other:04x?}"),
    };
    let (port, length) = (word(udp + 2).context("a port")?, usize::from(word(udp + 4).context("a length")?));
    let payload = frame.get(udp + 8..udp + length).context("a payload")?.to_vec();
    ensure!(payload.len() <= LONGEST, "a super-packet of {} bytes", payload.len());
    Ok(Datagram { to: SocketAddr::new(to, port), payload })
}

/// What the wire alone shows of the nonces of a VPN's server: a session has packet ids under key ids, and a key id means another
/// key after the session has begun anew. It takes a key id for the same key until then: a capture must not span eight renewals.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wire {
    /// Data packets.
    pub packets: usize,
    /// Different keys.
    pub keys: usize,
    /// To whom, key id and packet id of each nonce that came again.
    pub repeated: Vec<(SocketAddr, u8, u32)>,
}

impl Wire {
    /// Of what a server has sent.
    pub fn audit(datagrams: &[Datagram]) -> Self {
        let (mut wire, mut keys, mut seen) = (Self::default(), BTreeSet::new(), BTreeSet::new());
        let mut begun = std::collections::BTreeMap::<SocketAddr, u32>::new();
        for Datagram { to, payload } in datagrams {
            let Some([first, ..]) = payload.first_chunk::<1>() else { continue };
            match first >> 3 {
                // P_CONTROL_HARD_RESET_SERVER_V2: each session has its own, said perhaps more than once.
                8 => *begun.entry(*to).or_default() += 1,
                // P_DATA_V2: a byte, the peer id in three, the packet id in four.
                9 => {
                    let Some(head) = payload.first_chunk::<8>() else { continue };
                    let [_, a, b, c, id @ ..] = *head;
                    let (key_id, id) = (first & 7, u32::from_be_bytes(id));
                    let key = (*to, begun.get(to).copied(), [a, b, c], key_id);
                    wire.packets += 1;
                    keys.insert(key);
                    if !seen.insert((key, id)) {
                        wire.repeated.push((*to, key_id, id));
                    }
                }
                _ => {}
            }
        }
        wire.keys = keys.len();
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(key_id: u8, id: u8) -> Datagram {
        let payload = vec![9 << 3 | key_id, 0, 0, 7, 0, 0, 0, id, 1, 2, 3];
        Datagram { to: "192.0.2.2:5000".parse().unwrap(), payload }
    }

    /// In: packets of a session under two keys, then of one that began anew; one number that comes again. Out: that one, and no other.
    #[test]
    fn a_nonce_that_comes_again_is_seen() {
        let reset = Datagram { payload: vec![8 << 3, 1, 2], ..data(0, 0) };
        let mut seen = vec![reset.clone(), data(0, 1), data(0, 2), data(1, 1), reset, data(0, 1)];
        assert_eq!(Wire::audit(&seen), Wire { packets: 4, keys: 3, repeated: vec![] });
        seen.push(data(0, 1));
        assert_eq!(Wire::audit(&seen).repeated, [("192.0.2.2:5000".parse().unwrap(), 0, 1)]);
    }

    /// In: a file with one datagram in it, by hand. Out: the datagram; a fragment is refused.
    #[test]
    fn a_file_of_tcpdump_is_read() {
        let ip = [0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        let udp = [4, 170, 19, 136, 0, 11, 0, 0, 72, 1, 2];
        let frame = [&[0; 12][..], &[8, 0], &ip, &udp].concat();
        let length = (frame.len() as u32).to_le_bytes();
        let header = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[0; 16], &1_u32.to_le_bytes()].concat();
        let mut file = [&header[..], &[0; 8], &length, &length, &frame].concat();
        let to = "192.0.2.2:5000".parse().unwrap();
        assert_eq!(datagrams(&file).unwrap(), [Datagram { to, payload: vec![72, 1, 2] }]);
        file[FILE_HEADER + RECORD_HEADER + ETHERNET + 6] = 0x20;
        assert!(datagrams(&file).is_err());
    }
}
