//! The control channel of a gateway on one socket, with people behind it: no data, no replication. As little as shows that what
//! people give is what a stock client takes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rempart_daemon::vpn::seam::{FromPeople, LoginTicket, Material, People as _, Verdict};
use rempart_openvpn::Now;
use rempart_openvpn::cookie::{CookieKey, Keys, Outcome, Start};
use rempart_openvpn::message::{Address4, PushOptions};
use rempart_openvpn::packet::{Class, Header, KeyId, SessionId, classify};
use rempart_openvpn::session::{
    Accept, Closed, Output, Place, Seed, Session, Settings, Timing, TlsPolicy, tls_config,
};
use rempart_openvpn::token::TokenKey;
use rempart_openvpn::wrap::ServerKey;
use ring::rand::{SecureRandom, SystemRandom};

use crate::Node;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

fn now() -> Now {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Now { instant: Instant::now(), unix_s }
}

type Client = (SocketAddr, SessionId);

pub struct Gateway<'a> {
    node: &'a Node,
    socket: UdpSocket,
    settings: Arc<Settings>,
    start: Start,
    sessions: BTreeMap<Client, Session>,
    logins: BTreeMap<LoginTicket, (Client, KeyId)>,
    /// Verdicts so far: `yes`, `token`, `ask`, `no`.
    pub verdicts: Vec<&'static str>,
    pub closed: Vec<Closed>,
    /// Clients whose wrapped key names a device that may not begin.
    pub turned_away: usize,
    next: u64,
}

fn settings(material: Material) -> (Arc<Settings>, Keys) {
    let Material { chain, key, clients, wrapping, token, .. } = material;
    let settings = Settings {
        tls: tls_config(TlsPolicy { chain, key, clients }).unwrap(),
        token_key: TokenKey::new(token.as_slice().try_into().unwrap()),
        timing: Timing::default(),
        dynamic_wrapping: true,
        exporter: true,
    };
    let each = Some(ServerKey::new(wrapping.as_slice().try_into().unwrap()));
    (Arc::new(settings), Keys { shared: None, each })
}

impl<'a> Gateway<'a> {
    pub fn new(node: &'a Node, socket: UdpSocket, material: Material) -> Self {
        let (settings, keys) = settings(material);
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let start = Start::new(now(), CookieKey::new(&[1; 32]), keys, random());
        Self {
            node,
            socket,
            settings,
            start,
            sessions: BTreeMap::new(),
            logins: BTreeMap::new(),
            verdicts: Vec::new(),
            closed: Vec::new(),
            turned_away: 0,
            next: 0,
        }
    }

    /// Another list of revoked certificates.
    pub fn believe(&mut self, material: Material) {
        self.settings = settings(material).0;
    }

    pub fn session(&mut self) -> &mut Session {
        assert_eq!(self.sessions.len(), 1);
        self.sessions.values_mut().next().unwrap()
    }

    pub fn rekey(&mut self) {
        self.session().rekey(now());
    }

    pub fn drop_sessions(&mut self) {
        self.sessions.clear();
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(25);
        while !done(self) {
            assert!(Instant::now() < end, "not yet: {what}; {:?} {:?}", self.verdicts, self.closed);
            self.step();
        }
    }

    fn step(&mut self) {
        let mut buffer = [0; 4096];
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.receive(from, &buffer[..length]);
        }
        self.sessions.values_mut().for_each(|session| session.handle_timeout(now()));
        while let Ok(news) = self.node.news.try_recv() {
            if let FromPeople::Verdict(ticket, verdict) = news {
                self.tell(ticket, verdict);
            }
        }
        self.drain();
    }

    fn receive(&mut self, from: SocketAddr, packet: &[u8]) {
        if !matches!(classify(packet), Class::Control) {
            return;
        }
        let Ok((header, _)) = Header::parse(packet) else { return };
        let place = (from, header.session);
        if !self.sessions.contains_key(&place) {
            match self.start.handle(now(), from, packet) {
                Outcome::Nothing(_) => {}
                Outcome::Reply(reply) => drop(self.socket.send_to(&reply, from)),
                Outcome::Admit(admission) => {
                    if !self.node.registry.may_begin(admission.metadata.as_ref()) {
                        self.turned_away += 1;
                        return;
                    }
                    let at = Place { peer_id: 5, tcp: false, epoch: 2 };
                    let seed = Seed::new(&random());
                    let session = Session::new(now(), self.settings.clone(), &admission, at, seed).unwrap();
                    self.sessions.insert(place, session);
                }
            }
        }
        if let Some(session) = self.sessions.get_mut(&place) {
            let _ = session.handle_datagram(now(), packet);
        }
    }

    fn tell(&mut self, ticket: LoginTicket, verdict: Verdict) {
        let Some((client, key_id)) = self.logins.remove(&ticket) else { return };
        let Some(session) = self.sessions.get_mut(&client) else { return };
        match verdict {
            Verdict::Accepted { carried_on, .. } => {
                self.verdicts.push(if carried_on.is_some() { "token" } else { "yes" });
                let address4 = Some(Address4 {
                    address: [10, 90, 0, 2].into(),
                    prefix: 24,
                    gateway: [10, 90, 0, 1].into(),
                });
                let options =
                    PushOptions { address4, ping_s: 10, ping_restart_s: 60, ..PushOptions::default() };
                let accept = Accept { options, attached: Vec::new(), carried_on };
                session.accept(now(), key_id, accept).unwrap();
            }
            Verdict::Question { refusal, .. } => {
                self.verdicts.push("ask");
                session.reject(now(), key_id, *refusal);
            }
            Verdict::Refused(refusal) => {
                self.verdicts.push("no");
                session.reject(now(), key_id, *refusal);
            }
        }
    }

    fn drain(&mut self) {
        let mut over = Vec::new();
        for (place, session) in &mut self.sessions {
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Authenticate(login) => {
                        self.next += 1;
                        let ticket = LoginTicket(self.next);
                        self.logins.insert(ticket, (*place, login.key_id));
                        self.node.registry.begin(ticket, place.0, login);
                    }
                    Output::Commit { ticket } => session.committed(now(), ticket),
                    Output::Closed(why) => {
                        self.closed.push(why);
                        over.push(*place);
                    }
                    Output::Answer { .. }
                    | Output::Changed
                    | Output::Install(_)
                    | Output::Retire(_)
                    | Output::Cut => {}
                }
            }
            while let Some(packet) = session.poll_transmit(now()) {
                let _ = self.socket.send_to(&packet, place.0);
            }
        }
        over.into_iter().for_each(|place| drop(self.sessions.remove(&place)));
    }
}
