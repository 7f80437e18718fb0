//! What the other node needs to carry a session on (study §1.9). It holds keys: it travels on the pair's own encrypted
//! link, stays in locked memory and never reaches a disk.
//!
//! ```text
//!  format 1 │ flags 1 │ client's session 8 │ server's session 8 │ peer-id 4 │ family 1 │ address 4 or 16 │ port 2
//!  mode 1 │ wrapping key 256 │ dynamic key 256, if flagged │ time 4 │ newest received 8 │ newest with the dynamic key 8
//!  next key id 1 │ rekey under way 1, 255 for none
//!  certificate 32, if flagged │ user: length 2, text │ login 12 │ issued 8 │ IV_PROTO 4 │ attached: length 2, bytes
//!  keys 1 │ for each: key id 1 │ made in 8 │ since 8 │ seal 32 + 8 │ open 32 + 8
//! ```

use super::*;
use crate::key_exchange::{DirectionKey, MAX_USER};
use crate::token::LoginId;
use crate::wrap::{Digest, Mode, PacketId, STATIC_KEY, StaticKey};

/// Bytes that the driver may add.
pub const MAX_ATTACHED: usize = 4096;
/// Keys in a snapshot: the newest, and the older ones.
pub const MAX_KEYS: usize = MAX_OLD_KEYS + 2;
/// The longest snapshot, in bytes.
pub const MAX_SNAPSHOT: usize = 1024 + MAX_USER + MAX_ATTACHED + MAX_KEYS * KEY;
const KEY: usize = 97;
const FORMAT: u8 = 1;
const NO_KEY: u8 = 255;
const MAX_PEER_ID: u32 = 0x00ff_ffff;

mod flag {
    pub const TCP: u8 = 1;
    pub const DYNAMIC: u8 = 2;
    pub const CERTIFICATE: u8 = 4;
    pub const ALL: u8 = TCP | DYNAMIC | CERTIFICATE;
}

/// A session as the other node needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The client's session id.
    pub client_session: SessionId,
    /// Ours.
    pub server_session: SessionId,
    /// Where the client is.
    pub client: SocketAddr,
    /// It came by TCP, which no take-over outlives.
    pub tcp: bool,
    /// Names its data packets.
    pub peer_id: u32,
    /// How its packets are wrapped.
    pub wrapping: Wrapping,
    /// The wrapping key of renewals, where there is one.
    pub dynamic: Option<StaticKey>,
    /// The latest time that our wrapped packets carry.
    pub time: u32,
    /// The newest packet of the client, with the first key.
    pub received: PacketId,
    /// The newest packet of the client, with the dynamic one.
    pub received_dynamic: PacketId,
    /// The id of the next key.
    pub next_key: KeyId,
    /// A renewal is under way under this id.
    pub in_flight: Option<KeyId>,
    /// Who it is.
    pub identity: Identity,
    /// The keys of the data channel, the newest last.
    pub keys: Vec<SnapshotKey>,
}

/// A key of the data channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotKey {
    /// The key.
    pub keys: DataKeys,
    /// Since when, in seconds since 1970.
    pub since_unix_s: u64,
}

/// Why a snapshot is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Of another version of the program.
    #[error("format {0} of a session is not known")]
    Format(u8),
    /// It ends within a field.
    #[error("a session ends within a field")]
    Short,
    /// It goes on after its end.
    #[error("a session goes on after its end")]
    Long,
    /// A field holds what it cannot hold.
    #[error("the {0} of a session is impossible")]
    Field(&'static str),
}

impl Snapshot {
    /// Its bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_SNAPSHOT));
        let set = |flag: u8, on: bool| if on { flag } else { 0 };
        let flags = set(flag::TCP, self.tcp)
            | set(flag::DYNAMIC, self.dynamic.is_some())
            | set(flag::CERTIFICATE, self.identity.certificate.is_some());
        out.extend_from_slice(&[FORMAT, flags]);
        out.extend_from_slice(&self.client_session.0);
        out.extend_from_slice(&self.server_session.0);
        out.extend_from_slice(&self.peer_id.to_be_bytes());
        match self.client.ip() {
            std::net::IpAddr::V4(ip) => out.extend_from_slice(&[&[4][..], &ip.octets()].concat()),
            std::net::IpAddr::V6(ip) => out.extend_from_slice(&[&[6][..], &ip.octets()].concat()),
        }
        out.extend_from_slice(&self.client.port().to_be_bytes());
        out.push(mode_number(self.wrapping.mode));
        out.extend_from_slice(self.wrapping.key.expose());
        if let Some(dynamic) = &self.dynamic {
            out.extend_from_slice(dynamic.expose());
        }
        out.extend_from_slice(&self.time.to_be_bytes());
        for id in [self.received, self.received_dynamic] {
            out.extend_from_slice(&id.time.to_be_bytes());
            out.extend_from_slice(&id.counter.to_be_bytes());
        }
        out.extend_from_slice(&[self.next_key.get(), self.in_flight.map_or(NO_KEY, KeyId::get)]);
        self.identity.encode(&mut out);
        out.push(u8::try_from(self.keys.len().min(MAX_KEYS)).unwrap_or(0));
        for SnapshotKey { keys, since_unix_s } in self.keys.iter().take(MAX_KEYS) {
            out.push(keys.key_id.get());
            out.extend_from_slice(&keys.made_in.to_be_bytes());
            out.extend_from_slice(&since_unix_s.to_be_bytes());
            for direction in [&keys.seal, &keys.open] {
                out.extend_from_slice(&direction.key);
                out.extend_from_slice(&direction.implicit_iv);
            }
        }
        out
    }

    /// From bytes. Every field is checked; what follows the last one is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        if bytes.len() > MAX_SNAPSHOT {
            return Err(SnapshotError::Long);
        }
        let mut rest = Rest(bytes);
        let [format, flags] = rest.take()?;
        if format != FORMAT {
            return Err(SnapshotError::Format(format));
        }
        if flags & !flag::ALL != 0 {
            return Err(SnapshotError::Field("flags"));
        }
        let client_session = SessionId(rest.take()?);
        let server_session = SessionId(rest.take()?);
        let peer_id = Some(u32::from_be_bytes(rest.take()?)).filter(|id| *id <= MAX_PEER_ID);
        let peer_id = peer_id.ok_or(SnapshotError::Field("peer-id"))?;
        let [family] = rest.take()?;
        let ip = match family {
            4 => std::net::IpAddr::from(rest.take::<4>()?),
            6 => std::net::IpAddr::from(rest.take::<16>()?),
            0..=3 | 5 | 7..=u8::MAX => return Err(SnapshotError::Field("address")),
        };
        let client = SocketAddr::new(ip, u16::from_be_bytes(rest.take()?));
        let [mode] = rest.take()?;
        let mode = mode_of(mode).ok_or(SnapshotError::Field("wrapping"))?;
        let wrapping = Wrapping { mode, key: rest.static_key()? };
        let dynamic = if flags & flag::DYNAMIC != 0 { Some(rest.static_key()?) } else { None };
        let time = u32::from_be_bytes(rest.take()?);
        let (received, received_dynamic) = (rest.packet_id()?, rest.packet_id()?);
        let next_key = rest.key_id()?;
        let in_flight = match rest.take()? {
            [NO_KEY] => None,
            [id] => Some(KeyId::new(id).ok_or(SnapshotError::Field("key id"))?),
        };
        let identity = Identity::decode(&mut rest, flags & flag::CERTIFICATE != 0)?;
        let [count] = rest.take()?;
        if !(1..=MAX_KEYS).contains(&usize::from(count)) {
            return Err(SnapshotError::Field("number of keys"));
        }
        let keys = (0..count).map(|_| rest.data_key()).collect::<Result<Vec<_>, _>>()?;
        let mut ids: Vec<KeyId> = keys.iter().map(|key| key.keys.key_id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != keys.len() {
            return Err(SnapshotError::Field("key id"));
        }
        if !rest.0.is_empty() {
            return Err(SnapshotError::Long);
        }
        let tcp = flags & flag::TCP != 0;
        Ok(Self {
            client_session,
            server_session,
            client,
            tcp,
            peer_id,
            wrapping,
            dynamic,
            time,
            received,
            received_dynamic,
            next_key,
            in_flight,
            identity,
            keys,
        })
    }
}

impl Identity {
    fn encode(&self, out: &mut Vec<u8>) {
        let sized = |out: &mut Vec<u8>, bytes: &[u8]| {
            // Both are far below 2¹⁶ bytes, by what takes them in.
            out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        if let Some(certificate) = &self.certificate {
            out.extend_from_slice(certificate);
        }
        sized(out, self.user.as_bytes());
        out.extend_from_slice(&self.login.0);
        out.extend_from_slice(&self.issued_unix_s.to_be_bytes());
        out.extend_from_slice(&self.protocol_bits.to_be_bytes());
        sized(out, &self.attached);
    }

    fn decode(rest: &mut Rest<'_>, certificate: bool) -> Result<Self, SnapshotError> {
        let certificate = if certificate { Some(rest.take()?) } else { None };
        let user = rest.sized(MAX_USER, "user")?;
        let user = std::str::from_utf8(user).map_err(|_| SnapshotError::Field("user"))?.to_owned();
        let login = LoginId(rest.take()?);
        let issued_unix_s = u64::from_be_bytes(rest.take()?);
        let protocol_bits = u32::from_be_bytes(rest.take()?);
        let attached = rest.sized(MAX_ATTACHED, "attachment")?.to_vec();
        Ok(Self { certificate, user, login, issued_unix_s, protocol_bits, attached })
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (bytes, after) = self.0.split_first_chunk::<N>().ok_or(SnapshotError::Short)?;
        self.0 = after;
        Ok(*bytes)
    }

    fn sized(&mut self, most: usize, name: &'static str) -> Result<&'a [u8], SnapshotError> {
        let length = usize::from(u16::from_be_bytes(self.take()?));
        if length > most {
            return Err(SnapshotError::Field(name));
        }
        let (bytes, after) = self.0.split_at_checked(length).ok_or(SnapshotError::Short)?;
        self.0 = after;
        Ok(bytes)
    }

    fn static_key(&mut self) -> Result<StaticKey, SnapshotError> {
        Ok(StaticKey::new(&Zeroizing::new(self.take::<STATIC_KEY>()?)))
    }

    fn packet_id(&mut self) -> Result<PacketId, SnapshotError> {
        Ok(PacketId { time: u32::from_be_bytes(self.take()?), counter: u32::from_be_bytes(self.take()?) })
    }

    fn key_id(&mut self) -> Result<KeyId, SnapshotError> {
        let [id] = self.take()?;
        KeyId::new(id).ok_or(SnapshotError::Field("key id"))
    }

    fn data_key(&mut self) -> Result<SnapshotKey, SnapshotError> {
        let key_id = self.key_id()?;
        let made_in = u64::from_be_bytes(self.take()?);
        let since_unix_s = u64::from_be_bytes(self.take()?);
        let mut direction = || Ok(DirectionKey { key: self.take()?, implicit_iv: self.take()? });
        let (seal, open) = (direction()?, direction()?);
        Ok(SnapshotKey { keys: DataKeys { key_id, made_in, seal, open }, since_unix_s })
    }
}

const fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Crypt => 0,
        Mode::Auth(Digest::Sha1) => 1,
        Mode::Auth(Digest::Sha256) => 2,
        Mode::Auth(Digest::Sha512) => 3,
    }
}

const fn mode_of(number: u8) -> Option<Mode> {
    match number {
        0 => Some(Mode::Crypt),
        1 => Some(Mode::Auth(Digest::Sha1)),
        2 => Some(Mode::Auth(Digest::Sha256)),
        3 => Some(Mode::Auth(Digest::Sha512)),
        4..=u8::MAX => None,
    }
}

impl Session {
    /// The session as the other node needs it; none before the login was accepted, and none after the end.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let identity = self.identity.clone()?;
        if self.held.is_empty() {
            return None;
        }
        let dynamic = self.dynamic.as_ref();
        Some(Snapshot {
            client_session: self.client_session,
            server_session: self.server_session,
            client: self.client,
            tcp: self.place.tcp,
            peer_id: self.place.peer_id,
            wrapping: self.base.wrapping().clone(),
            dynamic: dynamic.map(|wrap| wrap.wrapping().key.clone()),
            time: dynamic.map_or(0, Wrap::time).max(self.base.time()),
            received: self.base.newest(),
            received_dynamic: dynamic.map(Wrap::newest).unwrap_or_default(),
            next_key: self.next_key,
            in_flight: self.in_flight.map(|(key_id, _)| key_id),
            identity,
            keys: self
                .held
                .iter()
                .map(|held| SnapshotKey { keys: held.keys.clone(), since_unix_s: held.since_unix_s })
                .collect(),
        })
    }

    /// Carries a session of the other node on. [`Output::Install`] follows for each of its keys. It renews nothing by
    /// itself: the driver calls [`Session::rekey`], paced, for clients that it hears.
    pub fn import(now: Now, settings: Arc<Settings>, snapshot: &Snapshot, epoch: u64, seed: Seed) -> Self {
        let sending = Sending::after(now.unix_s, snapshot.time);
        let wrap = |wrapping, received| Wrap::new(wrapping, sending, Received::beyond(received));
        let base = wrap(snapshot.wrapping.clone(), snapshot.received);
        let dynamic = snapshot
            .dynamic
            .clone()
            .map(|key| wrap(Wrapping { mode: snapshot.wrapping.mode, key }, snapshot.received_dynamic));
        let place = Place { peer_id: snapshot.peer_id, tcp: snapshot.tcp, epoch };
        let sessions = [snapshot.client_session, snapshot.server_session];
        let mut session = Self::empty(now, settings, place, snapshot.client, sessions, base, seed);
        session.dynamic = dynamic;
        session.phase = Phase::Up;
        session.next_key = snapshot.next_key;
        session.in_flight = snapshot.in_flight.map(|key_id| (key_id, now.instant + IN_FLIGHT));
        session.identity = Some(snapshot.identity.clone());
        let newest = snapshot.keys.len().saturating_sub(1);
        for (place, key) in snapshot.keys.iter().enumerate() {
            let age = Duration::from_secs(now.unix_s.saturating_sub(key.since_unix_s));
            session.held.push(Held {
                keys: key.keys.clone(),
                since: now.instant.checked_sub(age).unwrap_or(now.instant),
                since_unix_s: key.since_unix_s,
                retire_at: (place != newest).then_some(now.instant + session.settings.timing.old_key),
            });
            session.outputs.push_back(Output::Install(key.keys.clone()));
        }
        session
    }
}
