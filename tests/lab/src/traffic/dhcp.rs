//! A DHCP question (RFC 2131): DISCOVER, and the OFFER that comes. Nothing is taken.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::Host;
use crate::process::{output_within, succeeded};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// RFC 2131 §3: "The first four octets of the 'options' field".
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the cookie stands: after the BOOTP fields (RFC 2131 §2, figure 1).
const COOKIE_AT: usize = 236;
/// A DISCOVER is sent again after so long.
const AGAIN: Duration = Duration::from_millis(500);

// RFC 2132.
const OPTION_MASK: u8 = 1;
const OPTION_ROUTER: u8 = 3;
const OPTION_DNS: u8 = 6;
const OPTION_LEASE: u8 = 51;
const OPTION_MESSAGE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;

/// What a DHCP server offers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The address.
    pub address: Ipv4Addr,
    /// Its network's mask.
    pub mask: Option<Ipv4Addr>,
    /// The default route.
    pub router: Option<Ipv4Addr>,
    /// The resolver.
    pub nameserver: Option<Ipv4Addr>,
    /// The server.
    pub server: Option<Ipv4Addr>,
    /// How long, in seconds.
    pub lease_secs: Option<u32>,
}

pub(crate) fn discover(host: &Host, device: &str, timeout: Duration) -> Result<Option<Offer>> {
    let mut tool = host.tool()?;
    tool.args(["dhcp", device, "--timeout-ms", &timeout.as_millis().to_string()]);
    let output = output_within(tool, timeout + Duration::from_secs(10))?;
    let output = succeeded(output, &format!("DHCP on {device} of {}", host.name()))?;
    serde_json::from_slice(&output.stdout).context("the DHCP answer")
}

/// Asks on a device from here.
pub fn send(device: &str, timeout: Duration) -> Result<Option<Offer>> {
    let mac = mac_of(device)?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(device.as_bytes())).with_context(|| device.to_owned())?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).into())?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let socket = UdpSocket::from(socket);
    let transaction = std::process::id() ^ 0x5265_6d70;
    let question = discover_message(mac, transaction);
    let start = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut answer = [0; 1500];
    while start.elapsed() < timeout {
        if asked.is_none_or(|at| at.elapsed() > AGAIN) {
            socket.send_to(&question, (Ipv4Addr::BROADCAST, SERVER_PORT))?;
            asked = Some(Instant::now());
        }
        if let Ok(len) = socket.recv(&mut answer)
            && let Some(offer) = offer_in(&answer[..len], transaction)
        {
            return Ok(Some(offer));
        }
    }
    Ok(None)
}

fn discover_message(mac: [u8; 6], transaction: u32) -> Vec<u8> {
    let mut message = vec![0; COOKIE_AT];
    // op BOOTREQUEST, htype Ethernet, hlen 6.
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[4..8].copy_from_slice(&transaction.to_be_bytes());
    // RFC 2131 §4.1: the broadcast bit, for a client that cannot receive unicast before it has an address.
    message[10] = 0x80;
    message[28..34].copy_from_slice(&mac);
    message.extend(COOKIE);
    message.extend([OPTION_MESSAGE, 1, DISCOVER]);
    // Parameter request list (RFC 2132 §9.8), then the end.
    message.extend([55, 3, OPTION_MASK, OPTION_ROUTER, OPTION_DNS, 255]);
    message
}

fn offer_in(message: &[u8], transaction: u32) -> Option<Offer> {
    let mut options = message.get(COOKIE_AT..)?.strip_prefix(&COOKIE)?;
    if message[4..8] != transaction.to_be_bytes() {
        return None;
    }
    let address = Ipv4Addr::from(*message[16..].first_chunk()?);
    let mut offer =
        Offer { address, mask: None, router: None, nameserver: None, server: None, lease_secs: None };
    let mut kind = None;
    while let [code, rest @ ..] = options {
        if *code == 255 {
            break;
        }
        if *code == 0 {
            options = rest;
            continue;
        }
        let (len, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        let address = || value.first_chunk::<4>().map(|a| Ipv4Addr::from(*a));
        match *code {
            OPTION_MASK => offer.mask = address(),
            OPTION_ROUTER => offer.router = address(),
            OPTION_DNS => offer.nameserver = address(),
            OPTION_SERVER => offer.server = address(),
            OPTION_LEASE => offer.lease_secs = value.first_chunk().map(|s| u32::from_be_bytes(*s)),
            OPTION_MESSAGE => kind = value.first().copied(),
            _ => {}
        }
        options = rest;
    }
    (kind == Some(OFFER)).then_some(offer)
}

fn mac_of(device: &str) -> Result<[u8; 6]> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{device}/address"))
        .with_context(|| format!("there is no device {device}"))?;
    let bytes: Vec<u8> = text
        .trim()
        .split(':')
        .map(|b| u8::from_str_radix(b, 16))
        .collect::<Result<_, _>>()
        .context("its MAC")?;
    bytes.try_into().ok().context("its MAC is not six bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: an OFFER as RFC 2131 lays it out. Out: its fields; no cut of it panics or is taken for another's.
    #[test]
    fn an_offer_is_read() {
        let mut message = discover_message([2, 0, 0, 0, 0, 1], 7);
        message[16..20].copy_from_slice(&[203, 0, 113, 100]);
        message.truncate(COOKIE_AT + 4);
        message.extend([0, OPTION_MESSAGE, 1, OFFER, OPTION_MASK, 4, 255, 255, 255, 0]);
        message.extend([OPTION_ROUTER, 4, 203, 0, 113, 1, OPTION_LEASE, 4, 0, 0, 0, 120, 255]);
        let offer = offer_in(&message, 7).unwrap();
        assert_eq!(offer.address, Ipv4Addr::new(203, 0, 113, 100));
        assert_eq!(offer.router, Some(Ipv4Addr::new(203, 0, 113, 1)));
        assert_eq!((offer.lease_secs, offer.server), (Some(120), None));
        assert_eq!(offer_in(&message, 8), None);
        for len in 0..message.len() {
            let _ = offer_in(&message[..len], 7);
        }
    }
}
