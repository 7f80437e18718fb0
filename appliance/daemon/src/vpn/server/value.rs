//! A session as the other node holds it: what the control channel needs ([`Snapshot`]), where its keys come from, and what
//! the server knows of it besides. It holds keys and never reaches a disk.
//!
//! ```text
//!  format 1 │ snapshot: length 2, bytes │ our address: family 1, 4 or 16, port 2
//!  group │ user │ groups: number 1, each │ device: flag 1, 8 │ IPv4: flag 1, 4 │ IPv6: flag 1, 16
//!  networks: number 1, each: family 1, 4 or 16, prefix 1
//!  since 8 │ renewed 8, 0 for never │ bytes in 8 │ bytes out 8 │ key last used by the client 1, 255 for none
//!  keys: number 1, each: key id 1 │ epoch 8 │ stores: flag 1, 16, twice │ highest packet id received 4
//! ```
//!
//! Texts are a length of one byte and UTF-8.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rempart_identity::names::{DeviceId, GroupName, UserName};
use rempart_openvpn::data::epoch::{Epoch, Origin, StoreId};
use rempart_openvpn::packet::KeyId;
use rempart_openvpn::session::{MAX_KEYS, MAX_SNAPSHOT, Snapshot, SnapshotError};
use zeroize::Zeroizing;

use super::grant::{Grant, Inner};

const FORMAT: u8 = 1;
const NONE: u8 = 255;
/// Groups of one person, as the store has them.
const MAX_GROUPS: usize = rempart_identity::store::MAX_GROUPS_EACH;
/// Networks behind one client, as the store has them.
const MAX_NETWORKS: usize = rempart_identity::store::MAX_NETWORKS_EACH;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = MAX_SNAPSHOT + 1024 + MAX_GROUPS * 256 + MAX_NETWORKS * 18 + MAX_KEYS * 48;

/// Where a key comes from, and how far its packets have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyValue {
    /// Which.
    pub id: KeyId,
    /// Its maker.
    pub origin: Origin,
    /// The highest packet id that came under it, as of some seconds ago.
    pub highest: u32,
}

/// A session as the other node holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// The control channel.
    pub snapshot: Snapshot,
    /// Our address that the client speaks to.
    pub local: SocketAddr,
    /// Who it is and what it has.
    pub grant: Grant,
    /// When its key was renewed, in seconds since 1970.
    pub renewed_unix_s: Option<u64>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to it.
    pub bytes_out: u64,
    /// The key on which it last sent.
    pub echo: Option<KeyId>,
    /// Its keys.
    pub keys: Vec<KeyValue>,
}

/// Why a value is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// Of another version of the program.
    #[error("format {0} of a replicated session is not known")]
    Format(u8),
    /// It ends within a field.
    #[error("a replicated session ends within a field")]
    Short,
    /// It goes on after its end, or is longer than any can be.
    #[error("a replicated session is too long")]
    Long,
    /// A field holds what it cannot hold.
    #[error("the {0} of a replicated session is impossible")]
    Field(&'static str),
    /// The control channel's part.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl Value {
    /// Its bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_VALUE));
        let snapshot = self.snapshot.encode();
        out.push(FORMAT);
        // Far below 2¹⁶, by what the snapshot says of itself.
        out.extend_from_slice(&u16::try_from(snapshot.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&snapshot);
        put_ip(&mut out, self.local.ip());
        out.extend_from_slice(&self.local.port().to_be_bytes());
        let Grant { group, user, groups, device, inner, networks, since_unix_s } = &self.grant;
        put_text(&mut out, group);
        put_text(&mut out, user.as_str());
        put_count(&mut out, groups.len(), MAX_GROUPS);
        groups.iter().take(MAX_GROUPS).for_each(|name| put_text(&mut out, name.as_str()));
        put_option(&mut out, device.map(|device| device.bytes()));
        put_option(&mut out, inner.v4.map(|ip| ip.octets()));
        put_option(&mut out, inner.v6.map(|ip| ip.octets()));
        put_count(&mut out, networks.len(), MAX_NETWORKS);
        for network in networks.iter().take(MAX_NETWORKS) {
            put_ip(&mut out, network.addr());
            out.push(network.prefix_len());
        }
        for number in [*since_unix_s, self.renewed_unix_s.unwrap_or(0), self.bytes_in, self.bytes_out] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(self.echo.map_or(NONE, KeyId::get));
        put_count(&mut out, self.keys.len(), MAX_KEYS);
        for KeyValue { id, origin, highest } in self.keys.iter().take(MAX_KEYS) {
            out.push(id.get());
            out.extend_from_slice(&origin.made.get().to_be_bytes());
            origin.stores.iter().for_each(|store| put_option(&mut out, store.map(|store| store.get())));
            out.extend_from_slice(&highest.to_be_bytes());
        }
        out
    }

    /// From bytes. Every field is checked; what follows the last one is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        if bytes.len() > MAX_VALUE {
            return Err(ValueError::Long);
        }
        let mut rest = Rest(bytes);
        match rest.take()? {
            [FORMAT] => {}
            [other] => return Err(ValueError::Format(other)),
        }
        let length = usize::from(u16::from_be_bytes(rest.take()?));
        let snapshot = Snapshot::decode(rest.bytes(length)?)?;
        let local = SocketAddr::new(rest.ip()?, u16::from_be_bytes(rest.take()?));
        let grant = rest.grant()?;
        let renewed_unix_s = Some(rest.number()?).filter(|at| *at != 0);
        let (bytes_in, bytes_out) = (rest.number()?, rest.number()?);
        let echo = match rest.take()? {
            [NONE] => None,
            [id] => Some(KeyId::new(id).ok_or(ValueError::Field("key id"))?),
        };
        let keys = (0..rest.count(MAX_KEYS)?).map(|_| rest.key()).collect::<Result<Vec<_>, _>>()?;
        if !rest.0.is_empty() {
            return Err(ValueError::Long);
        }
        Ok(Self { snapshot, local, grant, renewed_unix_s, bytes_in, bytes_out, echo, keys })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Names are 64 bytes at most.
    let bytes = text.as_bytes().get(..text.len().min(usize::from(u8::MAX))).unwrap_or_default();
    put_count(out, bytes.len(), usize::from(u8::MAX));
    out.extend_from_slice(bytes);
}

fn put_count(out: &mut Vec<u8>, count: usize, most: usize) {
    out.push(u8::try_from(count.min(most)).unwrap_or(u8::MAX));
}

fn put_option<const N: usize>(out: &mut Vec<u8>, value: Option<[u8; N]>) {
    out.push(u8::from(value.is_some()));
    out.extend_from_slice(&value.unwrap_or([0; N]));
}

fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let (bytes, after) = self.0.split_first_chunk::<N>().ok_or(ValueError::Short)?;
        self.0 = after;
        Ok(*bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], ValueError> {
        let (bytes, after) = self.0.split_at_checked(length).ok_or(ValueError::Short)?;
        self.0 = after;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, ValueError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn count(&mut self, most: usize) -> Result<usize, ValueError> {
        let [count] = self.take()?;
        Some(usize::from(count)).filter(|count| *count <= most).ok_or(ValueError::Field("number"))
    }

    fn text(&mut self) -> Result<&'a str, ValueError> {
        let length = self.count(usize::from(u8::MAX))?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| ValueError::Field("text"))
    }

    fn option<const N: usize>(&mut self) -> Result<Option<[u8; N]>, ValueError> {
        let (flag, value) = (self.take()?, self.take()?);
        match flag {
            [0] if value == [0; N] => Ok(None),
            [1] => Ok(Some(value)),
            [_] => Err(ValueError::Field("flag")),
        }
    }

    fn ip(&mut self) -> Result<IpAddr, ValueError> {
        match self.take()? {
            [4] => Ok(self.take::<4>()?.into()),
            [6] => Ok(self.take::<16>()?.into()),
            [_] => Err(ValueError::Field("address")),
        }
    }

    fn network(&mut self) -> Result<IpNet, ValueError> {
        let (ip, [prefix]) = (self.ip()?, self.take()?);
        IpNet::new(ip, prefix).map_err(|_| ValueError::Field("network"))
    }

    fn grant(&mut self) -> Result<Grant, ValueError> {
        let group = self.text()?.to_owned();
        let user: UserName = self.text()?.parse().map_err(|_| ValueError::Field("user"))?;
        let group_name = |text: &str| text.parse::<GroupName>().map_err(|_| ValueError::Field("group"));
        let groups = (0..self.count(MAX_GROUPS)?)
            .map(|_| self.text().and_then(group_name))
            .collect::<Result<BTreeSet<_>, _>>()?;
        let device = self.option()?.map(DeviceId::new);
        let (v4, v6) = (self.option::<4>()?.map(Into::into), self.option::<16>()?.map(Into::into));
        let networks =
            (0..self.count(MAX_NETWORKS)?).map(|_| self.network()).collect::<Result<Vec<_>, _>>()?;
        let since_unix_s = self.number()?;
        Ok(Grant { group, user, groups, device, inner: Inner { v4, v6 }, networks, since_unix_s })
    }

    fn key(&mut self) -> Result<KeyValue, ValueError> {
        let [id] = self.take()?;
        let id = KeyId::new(id).ok_or(ValueError::Field("key id"))?;
        let made = Epoch::new(self.number()?);
        let stores = [self.option()?.map(StoreId::new), self.option()?.map(StoreId::new)];
        Ok(KeyValue { id, origin: Origin { made, stores }, highest: u32::from_be_bytes(self.take()?) })
    }
}

#[cfg(test)]
pub(super) mod tests;
