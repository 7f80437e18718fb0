//! DHCP messages for IPv4 (RFC 2131, RFC 2132), in Ethernet frames.
//!
//! ```text
//! Ethernet 14 │ IPv4 20 │ UDP 8 68→67 │ BOOTP 236 │ 63 82 53 63 │ options … 255
//! ```

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use nix::libc::sock_filter;
use rempart_plan::Lease;

/// An Ethernet address.
pub type Mac = [u8; 6];

pub(super) const BROADCAST_MAC: Mac = [0xff; 6];
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
const ETHERNET: usize = 14;
const BOOTP: usize = 236;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const UDP: u8 = 17;
/// Some servers drop shorter messages (RFC 1542 §2.1).
const MIN_BOOTP_LEN: usize = 300;
/// The largest message that we take (RFC 2132 §9.10), as Ethernet carries it.
const MAX_MESSAGE: u16 = 1500;
/// Longest name that is sent (RFC 1035 §2.3.4).
const MAX_HOST_NAME: usize = 63;
/// Most name servers that are kept.
const MAX_DNS: usize = 4;

const OPT_SUBNET_MASK: u8 = 1;
const OPT_ROUTER: u8 = 3;
const OPT_DNS: u8 = 6;
const OPT_HOST_NAME: u8 = 12;
const OPT_REQUESTED_ADDRESS: u8 = 50;
const OPT_LEASE_TIME: u8 = 51;
const OPT_OVERLOAD: u8 = 52;
const OPT_MESSAGE_TYPE: u8 = 53;
const OPT_SERVER_ID: u8 = 54;
const OPT_PARAMETERS: u8 = 55;
const OPT_MAX_MESSAGE: u8 = 57;
const OPT_T1: u8 = 58;
const OPT_T2: u8 = 59;
const OPT_CLIENT_ID: u8 = 61;
const OPT_CLASSLESS_ROUTES: u8 = 121;
const OPT_PAD: u8 = 0;
const OPT_END: u8 = 255;

/// Message types (RFC 2132 §9.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    Discover,
    Offer,
    Request,
    Ack,
    Nak,
    Other(u8),
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Other(n) => n,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            5 => Self::Ack,
            6 => Self::Nak,
            other => Self::Other(other),
        }
    }
}

/// What a client says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The message type.
    pub kind: Kind,
    /// Ties answers to questions.
    pub xid: u32,
    /// Seconds since the client began.
    pub elapsed_s: u16,
    /// Our Ethernet address.
    pub mac: Mac,
    /// The address that we hold and use (`ciaddr`), or zero.
    pub holding: Ipv4Addr,
    /// The address that we ask for.
    pub requested: Option<Ipv4Addr>,
    /// The server that we chose.
    pub server: Option<Ipv4Addr>,
    /// Our name.
    pub host_name: Option<String>,
    /// To one server instead of everyone: its Ethernet and its IP address.
    pub unicast: Option<(Mac, Ipv4Addr)>,
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The message type.
    pub kind: Kind,
    /// Ties answers to questions.
    pub xid: u32,
    /// The Ethernet address that the frame came from: the server's, or its relay's.
    pub from: Mac,
    /// The server.
    pub server: Option<Ipv4Addr>,
    /// What it offers or grants: not in a refusal.
    pub grant: Option<Grant>,
}

/// What a server offers or grants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The lease, as the plan needs it.
    pub lease: Lease,
    /// The address alone.
    pub address: Ipv4Addr,
    /// For how long, in seconds.
    pub lease_s: u32,
    /// When to renew it, in seconds.
    pub t1_s: Option<u32>,
    /// When to ask everyone, in seconds.
    pub t2_s: Option<u32>,
}

/// The Ethernet frame that asks `question`.
pub fn encode(question: &Question) -> Vec<u8> {
    let bootp = bootp(question);
    let (mac, source, destination) = match question.unicast {
        Some((mac, server)) => (mac, question.holding, server),
        None => (BROADCAST_MAC, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
    };
    let udp_len = 8 + bootp.len();
    let total = u16::try_from(20 + udp_len).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(ETHERNET + usize::from(total));
    frame.extend(mac);
    frame.extend(question.mac);
    frame.extend(0x0800u16.to_be_bytes());
    let mut ip = [0u8; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[8] = 64;
    ip[9] = UDP;
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&destination.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    let mut udp = [0u8; 8];
    udp[0..2].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&SERVER_PORT.to_be_bytes());
    let len = u16::try_from(udp_len).unwrap_or(u16::MAX).to_be_bytes();
    udp[4..6].copy_from_slice(&len);
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, UDP], &len].concat();
    let sum = checksum(&[&pseudo, &udp, &bootp]);
    // RFC 768: zero means that there is none.
    udp[6..8].copy_from_slice(&if sum == 0 { 0xffffu16 } else { sum }.to_be_bytes());
    frame.extend(udp);
    frame.extend(bootp);
    frame
}

fn bootp(question: &Question) -> Vec<u8> {
    let mut out = vec![0u8; BOOTP];
    out[0] = 1; // BOOTREQUEST
    out[1] = 1; // Ethernet
    out[2] = 6;
    out[4..8].copy_from_slice(&question.xid.to_be_bytes());
    out[8..10].copy_from_slice(&question.elapsed_s.to_be_bytes());
    out[12..16].copy_from_slice(&question.holding.octets());
    out[28..34].copy_from_slice(&question.mac);
    out.extend(COOKIE);
    let mut option = |code: u8, data: &[u8]| {
        let data = data.get(..255).unwrap_or(data);
        out.extend([code, data.len() as u8]);
        out.extend(data);
    };
    option(OPT_MESSAGE_TYPE, &[question.kind.number()]);
    option(OPT_CLIENT_ID, &[&[1], &question.mac[..]].concat());
    if let Some(address) = question.requested {
        option(OPT_REQUESTED_ADDRESS, &address.octets());
    }
    if let Some(server) = question.server {
        option(OPT_SERVER_ID, &server.octets());
    }
    if let Some(name) = question.host_name.as_deref().filter(|n| !n.is_empty() && n.len() <= MAX_HOST_NAME) {
        option(OPT_HOST_NAME, name.as_bytes());
    }
    option(OPT_MAX_MESSAGE, &MAX_MESSAGE.to_be_bytes());
    // RFC 3442: classless routes are to be asked for before the router.
    option(
        OPT_PARAMETERS,
        &[OPT_SUBNET_MASK, OPT_CLASSLESS_ROUTES, OPT_ROUTER, OPT_DNS, OPT_LEASE_TIME, OPT_T1, OPT_T2],
    );
    out.push(OPT_END);
    out.resize(out.len().max(MIN_BOOTP_LEN), OPT_PAD);
    out
}

/// Reads a frame; `None` when it is no answer to the client with `mac`. The UDP checksum is not looked at: between
/// virtual machines it is often not worked out, and the frame has its own.
pub fn decode(frame: &[u8], mac: Mac) -> Option<Answer> {
    let from: Mac = *frame.get(6..12)?.first_chunk()?;
    let ip = frame.get(ETHERNET..)?;
    let header_len = usize::from(ip.first()? & 0x0f) * 4;
    let version = ip.first()? >> 4;
    let total = usize::from(u16_at(ip, 2)?);
    let fragment = u16_at(ip, 6)? & 0x3fff;
    if u16_at(frame, 12)? != 0x0800 || version != 4 || header_len < 20 || fragment != 0 || *ip.get(9)? != UDP
    {
        return None;
    }
    let udp = ip.get(header_len..total)?;
    if u16_at(udp, 0)? != SERVER_PORT || u16_at(udp, 2)? != CLIENT_PORT {
        return None;
    }
    let bootp = udp.get(8..usize::from(u16_at(udp, 4)?))?;
    if bootp.len() < BOOTP
        || bootp[0] != 2
        || bootp.get(28..34)? != mac
        || bootp.get(BOOTP..BOOTP + 4)? != COOKIE
    {
        return None;
    }
    let options = Options::read(bootp);
    let kind = Kind::from_number(*options.get(OPT_MESSAGE_TYPE)?.first()?);
    let grant = match kind {
        Kind::Offer | Kind::Ack => grant(ipv4_at(bootp, 16)?, &options),
        _ => None,
    };
    let server = options.get(OPT_SERVER_ID).and_then(|d| ipv4_at(d, 0));
    Some(Answer { kind, xid: u32_at(bootp, 4)?, from, server, grant })
}

fn grant(address: Ipv4Addr, options: &Options) -> Option<Grant> {
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast() {
        return None;
    }
    let mask =
        options.get(OPT_SUBNET_MASK).and_then(|d| ipv4_at(d, 0)).unwrap_or_else(|| natural_mask(address));
    let net = Ipv4Net::with_netmask(address, mask).ok()?;
    let router = options.get(OPT_ROUTER).and_then(|d| ipv4_at(d, 0));
    // RFC 3442: whoever understands classless routes must ignore the router when they are given.
    let gateway = match options.get(OPT_CLASSLESS_ROUTES) {
        Some(routes) => classless_default(routes),
        None => router,
    };
    let usable =
        |a: &Ipv4Addr| !a.is_unspecified() && !a.is_broadcast() && !a.is_multicast() && *a != address;
    let servers = options.get(OPT_DNS).unwrap_or(&[]).chunks_exact(4).filter_map(|c| ipv4_at(c, 0));
    let lease = Lease {
        address: IpNet::V4(net),
        gateway: gateway.filter(usable).map(IpAddr::V4),
        dns: servers.filter(usable).take(MAX_DNS).map(IpAddr::V4).collect(),
    };
    let number = |code| options.get(code).and_then(|d| u32_at(d, 0));
    Some(Grant {
        lease,
        address,
        lease_s: number(OPT_LEASE_TIME)?,
        t1_s: number(OPT_T1),
        t2_s: number(OPT_T2),
    })
}

/// The router of 0.0.0.0/0 among classless routes (RFC 3442): length, as many bytes of the network as it needs,
/// router.
fn classless_default(routes: &[u8]) -> Option<Ipv4Addr> {
    let mut rest = routes;
    while let [len, tail @ ..] = rest {
        let network = usize::from(len.div_ceil(8));
        if *len == 0 {
            return ipv4_at(tail, 0);
        }
        if *len > 32 {
            return None;
        }
        rest = tail.get(network + 4..)?;
    }
    None
}

fn natural_mask(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        0..=127 => Ipv4Addr::new(255, 0, 0, 0),
        128..=191 => Ipv4Addr::new(255, 255, 0, 0),
        192..=255 => Ipv4Addr::new(255, 255, 255, 0),
    }
}

/// The options of a message: the parts of one that comes several times are joined (RFC 3396).
struct Options(std::collections::BTreeMap<u8, Vec<u8>>);

impl Options {
    /// From a message of at least the fixed length.
    fn read(bootp: &[u8]) -> Self {
        let mut options = Self(std::collections::BTreeMap::new());
        options.take(bootp.get(BOOTP + 4..).unwrap_or(&[]));
        // RFC 2132 §9.3: options may go on in `file` and `sname`.
        let overload = options.get(OPT_OVERLOAD).and_then(|d| d.first().copied()).unwrap_or(0);
        if overload & 1 != 0 {
            options.take(bootp.get(108..236).unwrap_or(&[]));
        }
        if overload & 2 != 0 {
            options.take(bootp.get(44..108).unwrap_or(&[]));
        }
        options
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let [code, tail @ ..] = rest {
            match *code {
                OPT_PAD => rest = tail,
                OPT_END => return,
                code => {
                    let Some((len, tail)) = tail.split_first() else { return };
                    let Some((data, tail)) = tail.split_at_checked(usize::from(*len)) else { return };
                    self.0.entry(code).or_default().extend_from_slice(data);
                    rest = tail;
                }
            }
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}
fn ipv4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| Ipv4Addr::from(*b))
}

/// The checksum of RFC 1071. Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|p| p.chunks(2)).map(|w| match w {
        [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
        [a] => u32::from(u16::from_be_bytes([*a, 0])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Lets through what is for the DHCP client: IPv4, UDP, first fragment, destination port 68. Everything else never
/// leaves the kernel.
pub(super) const FILTER: [sock_filter; 11] = {
    const fn op(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
        sock_filter { code, jt, jf, k }
    }
    [
        op(0x28, 0, 0, 12),     // ldh [12]               ethertype
        op(0x15, 0, 8, 0x0800), // jeq IPv4
        op(0x30, 0, 0, 23),     // ldb [23]               protocol
        op(0x15, 0, 6, 17),     // jeq UDP
        op(0x28, 0, 0, 20),     // ldh [20]               fragment offset
        op(0x45, 4, 0, 0x1fff), // jset: not the first
        op(0xb1, 0, 0, 14),     // ldxb 4 * ([14] & 0xf)  length of the IP header
        op(0x48, 0, 0, 16),     // ldh [x + 16]           destination port
        op(0x15, 0, 1, 68),     // jeq 68
        op(0x06, 0, 0, 0xffff), // ret: all of it
        op(0x06, 0, 0, 0),      // ret: nothing
    ]
};

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::dhcp) const MAC: Mac = [2, 0, 0, 0, 0, 1];

    /// An answer frame with `options`, as a server would send it.
    pub(in crate::dhcp) fn answer(xid: u32, address: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bootp = vec![0u8; BOOTP];
        bootp[0] = 2;
        bootp[4..8].copy_from_slice(&xid.to_be_bytes());
        bootp[16..20].copy_from_slice(&address.octets());
        bootp[28..34].copy_from_slice(&MAC);
        bootp.extend(COOKIE);
        for (code, data) in options {
            bootp.extend([*code, data.len() as u8]);
            bootp.extend(*data);
        }
        bootp.push(OPT_END);
        let mut frame = vec![0u8; ETHERNET + 28];
        frame[..6].copy_from_slice(&MAC);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[12] = 0x08;
        frame[ETHERNET] = 0x45;
        let total = (28 + bootp.len()) as u16;
        frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
        frame[ETHERNET + 9] = UDP;
        frame[ETHERNET + 20..ETHERNET + 22].copy_from_slice(&SERVER_PORT.to_be_bytes());
        frame[ETHERNET + 22..ETHERNET + 24].copy_from_slice(&CLIENT_PORT.to_be_bytes());
        frame[ETHERNET + 24..ETHERNET + 26].copy_from_slice(&(total - 20).to_be_bytes());
        frame.extend(bootp);
        frame
    }

    /// An offer with classless routes in; the default route among them is the gateway, not the router.
    #[test]
    fn classless_routes_win_over_the_router() {
        let routes = [24, 203, 0, 113, 10, 0, 0, 9, 0, 10, 0, 0, 254];
        let options: &[(u8, &[u8])] = &[
            (53, &[2]),
            (54, &[10, 0, 0, 1]),
            (51, &[0, 0, 14, 16]),
            (1, &[255, 255, 255, 0]),
            (3, &[10, 0, 0, 1]),
            (6, &[10, 0, 0, 1, 9, 9, 9, 9]),
            (121, &routes),
        ];
        let answer = decode(&answer(7, Ipv4Addr::new(10, 0, 0, 50), options), MAC).expect("an offer");
        let grant = answer.grant.expect("a grant");
        assert_eq!(
            (answer.kind, answer.xid, answer.server),
            (Kind::Offer, 7, Some(Ipv4Addr::new(10, 0, 0, 1)))
        );
        assert_eq!(grant.lease.address.to_string(), "10.0.0.50/24");
        assert_eq!(grant.lease.gateway.map(|g| g.to_string()), Some("10.0.0.254".into()));
        assert_eq!((grant.lease.dns.len(), grant.lease_s), (2, 3600));
    }

    /// A question in; the checksums of the frame must be right.
    #[test]
    fn questions_have_right_checksums() {
        let question = Question {
            kind: Kind::Request,
            xid: 1,
            elapsed_s: 3,
            mac: MAC,
            holding: Ipv4Addr::new(10, 0, 0, 50),
            requested: None,
            server: None,
            host_name: Some("rte01".into()),
            unicast: Some(([2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 0, 0, 1))),
        };
        let frame = encode(&question);
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let len = ((frame.len() - 34) as u16).to_be_bytes();
        assert_eq!(checksum(&[&frame[26..34], &[0, UDP], &len, &frame[34..]]), 0);
        assert!(decode(&frame, MAC).is_none(), "a question is no answer");
    }

    proptest! {
        /// Whatever bytes arrive, reading them never panics.
        #[test]
        fn any_bytes_can_be_read(junk in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..400) {
            let _ = decode(&junk, MAC);
            let mut frame = answer(1, Ipv4Addr::new(10, 0, 0, 50), &[(53, &[5]), (51, &[0, 0, 1, 0])]);
            for (place, byte) in frame.iter_mut().skip(at).zip(&junk) { *place = *byte; }
            let _ = decode(&frame, MAC);
        }
    }
}
