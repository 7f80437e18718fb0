//! People with what is really there: the stock openvpn, a Samba domain controller, FreeRADIUS, a bus.
//!
//! Needs root for network namespaces; without it, or without a program, a test says so and passes.

mod alone;
mod bus;
mod elsewhere;
mod gateway;
#[path = "../../../identity/tests/common/mod.rs"]
mod servers;
mod stock;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rempart_bus::vpn::{ExportRequest, Profile, UserFields, UserRequest};
use rempart_daemon::vpn::people::{Registry, Settings};
use rempart_daemon::vpn::seam::{CutOff, FromPeople, LoginTicket, Material, Tell, Verdict};
use rempart_identity::demand::Language;
use rempart_identity::secret::Secret;
use rempart_plan::vpn::{CertificatePlan, GroupPlan, Remote, VpnPlan};

const PASSWORD: &str = "correct horse battery";

/// Active, and alone.
struct Node {
    registry: Arc<Registry>,
    news: mpsc::Receiver<FromPeople>,
}

impl Node {
    fn open(state: &Path) -> Self {
        let (tell, news) = mpsc::channel();
        let tell: Tell<FromPeople> = Arc::new(move |what| drop(tell.send(what)));
        let (state, node) = (PathBuf::from(state), "rte01".to_owned());
        let registry = alone::open(Settings { state, node, language: Language::English }, tell);
        Self { registry, news }
    }

    fn add(&self, name: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let fields = UserFields { groups: Some(groups), ..UserFields::default() };
        let office = self.registry.office();
        office.add_user(&UserRequest { name: name.to_owned(), fields }, "test").unwrap();
        office.set_password(name, &Secret::from(PASSWORD), "test").unwrap();
    }

    fn export(&self, name: &str) -> Profile {
        let request =
            ExportRequest { user: Some(name.to_owned()), label: Some("laptop".to_owned()), device: None };
        self.registry.office().export(&request, "test").unwrap()
    }

    fn next<T>(&self, what: &str, pick: impl Fn(FromPeople) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let news = self.news.recv_timeout(left).unwrap_or_else(|_| panic!("no {what} within 30 s"));
            if let Some(found) = pick(news) {
                return found;
            }
        }
    }

    fn material(&self) -> Material {
        self.next("material", |news| match news {
            FromPeople::Material(material) => Some(*material),
            FromPeople::Verdict(..) | FromPeople::Cut(_) => None,
        })
    }

    fn cut(&self) -> CutOff {
        self.next("cut", |news| match news {
            FromPeople::Cut(cut) => Some(cut),
            FromPeople::Verdict(..) | FromPeople::Material(_) => None,
        })
    }

    fn verdict(&self) -> (LoginTicket, Verdict) {
        self.next("verdict", |news| match news {
            FromPeople::Verdict(ticket, verdict) => Some((ticket, verdict)),
            FromPeople::Cut(_) | FromPeople::Material(_) => None,
        })
    }
}

/// A group that demands some of certificate, password, code, and stands for this group of the directory.
fn group(name: &str, demands: &str, directory: &[&str]) -> GroupPlan {
    GroupPlan {
        name: name.to_owned(),
        pool4: Some("10.90.0.0/24".parse().unwrap()),
        pool6: None,
        certificate: demands.contains("certificate"),
        password: demands.contains("password"),
        code: demands.contains("code"),
        full_tunnel: false,
        routes: Vec::new(),
        dns: Vec::new(),
        domain: None,
        search: Vec::new(),
        max_sessions: None,
        sessions_each: 2,
        session_limit_s: None,
        directory_groups: directory.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn plan(listen: SocketAddr, groups: Vec<GroupPlan>) -> VpnPlan {
    VpnPlan {
        node: "rte01".to_owned(),
        index: 0,
        peer: None,
        device: "vpn0".to_owned(),
        kernel_device: None,
        udp: vec![listen],
        tcp: Vec::new(),
        remotes: vec![Remote { host: listen.ip().to_string(), port: listen.port(), tcp: false }],
        mtu: 1500,
        max_sessions: 100,
        rekey_s: 3600,
        idle_s: 120,
        tls12: true,
        groups,
        strangers: None,
        directory: None,
        radius: None,
        certificates: CertificatePlan { organisation: "SDIS 99".to_owned(), device_days: 365, warn_days: 30 },
    }
}
