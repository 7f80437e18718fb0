//! Where the parts of the program are joined, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rempart_bus::vpn::{DisconnectRequest, SessionView};
use rempart_daemon::vpn::gate::{Gate, Handle, NftTable};
use rempart_daemon::vpn::people::{Registry, ServerView, Settings};
use rempart_daemon::vpn::replica;
use rempart_daemon::vpn::seam::{FromReplica, Server, Tell, Whom};
use rempart_daemon::vpn::server::Surroundings;
use rempart_daemon::vpn::server::status::SessionStatus;
use rempart_daemon::vpn::service::{Configure, Service};
use rempart_daemon::vpn::wireguard::Wireguard;
use rempart_openvpn::data::epoch::Parity;
use rempart_plan::remote::RemotePlan;
use rempart_plan::vpn::VpnPlan;
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::error;

use crate::{Arguments, PlanFile};

/// What `main` needs of what was assembled.
pub struct Parts {
    pub service: Service,
    pub server: Handle,
}

/// Server, people, WireGuard and replica, each with its way to the others.
pub fn assemble(arguments: &Arguments, plan: &RemotePlan, file: PlanFile) -> anyhow::Result<(Gate, Parts)> {
    let folder = arguments.state.join("vpn");
    let relay = arguments.relay.clone().unwrap_or_else(|| arguments.state.join("ha/relay.sock"));
    let parity = if plan.index == 0 { Parity::Even } else { Parity::Odd };
    let (index, paired) = (plan.index, plan.paired);
    let mut made = None;
    let (gate, server) = Gate::new(
        NftTable::default(),
        Box::new(|server| {
            let news = News::new(server.replica());
            let tell = news.clone();
            let replica = replica::start(replica::Config {
                folder,
                run: arguments.run.clone(),
                relay: paired.then(|| relay.clone()),
                parity,
                tell: Arc::new(move |told| tell.tell(told)),
            })
            .context("what both nodes hold cannot be kept")?;
            let settings = Settings {
                state: arguments.state.clone(),
                node: arguments.node.clone(),
                language: Settings::language_of(|name| std::env::var(name).ok()),
            };
            let people = Registry::open(settings, replica.clone(), server.people())
                .context("people cannot be read")?;
            let people = Arc::new(people);
            people.attach(Arc::new(View(server.clone())));
            let secrets = arguments.state.join("secrets");
            let wireguard = Wireguard::start(None, &secrets, replica.clone());
            let wireguard = Arc::new(wireguard.context("WireGuard cannot start")?);
            news.begin(people.clone(), wireguard.clone());
            let (moved, server) = (replica.clone(), server.clone());
            let program =
                Program { people: people.clone(), wireguard: wireguard.clone(), server, file, index };
            let configure: Configure = Arc::new(move |plan, revision| {
                program.configure(plan, revision, |pair| moved.set_relay(pair.then(|| relay.clone())));
            });
            let (office, node) = (people.office(), arguments.node.clone());
            made = Some(Service { office, wireguard, node, configure });
            let random = SystemRandom::new();
            Ok(Surroundings {
                people,
                replica,
                random: Box::new(move || {
                    let mut bytes = [0; 32];
                    // Linux gives random bytes once it has booted; going on without them is out of the question.
                    random.fill(&mut bytes).expect("the system has random bytes");
                    bytes
                }),
            })
        }),
    )?;
    let service = made.context("what the bus serves is assembled with the server")?;
    Ok((gate, Parts { service, server }))
}

/// What the replica says goes to people, to WireGuard and to the server, in this order; what it says before they are there is
/// kept.
#[derive(Clone)]
struct News {
    people: Arc<Mutex<Listener>>,
    server: Tell<FromReplica>,
}

enum Listener {
    Awaited(Vec<FromReplica>),
    There(Arc<Registry>, Arc<Wireguard>),
}

impl News {
    fn new(server: Tell<FromReplica>) -> Self {
        Self { people: Arc::new(Mutex::new(Listener::Awaited(Vec::new()))), server }
    }

    fn tell(&self, told: FromReplica) {
        match &mut *self.people.lock().unwrap_or_else(PoisonError::into_inner) {
            Listener::Awaited(kept) => kept.push(told),
            Listener::There(people, wireguard) => {
                people.handle(&told);
                wireguard.hear(&told);
                (self.server)(told);
            }
        }
    }

    fn begin(&self, people: Arc<Registry>, wireguard: Arc<Wireguard>) {
        let mut listener = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        let there = Listener::There(people.clone(), wireguard.clone());
        if let Listener::Awaited(kept) = std::mem::replace(&mut *listener, there) {
            for told in kept {
                people.handle(&told);
                wireguard.hear(&told);
                (self.server)(told);
            }
        }
    }
}

/// Whom the document concerns.
struct Program {
    people: Arc<Registry>,
    wireguard: Arc<Wireguard>,
    server: Handle,
    file: PlanFile,
    index: u8,
}

impl Program {
    /// What the document asks for, kept for the next start; then to each what is its own. `set_pair`: there is another node,
    /// or none any more.
    fn configure(&self, plan: Option<RemotePlan>, revision: u32, set_pair: impl FnOnce(bool)) {
        if let Some(plan) = &plan {
            if plan.index != self.index {
                error!("the nodes have changed places in the document: the program has to be started again");
                self.file.write(Some(plan));
                return self.server.stop();
            }
            set_pair(plan.paired);
        }
        // Clients first: a program that has just been started waits for no disk.
        let (vpn, wireguard) = plan.clone().map_or((None, None), |plan| (plan.vpn, plan.wireguard));
        self.wireguard.configure(wireguard);
        self.people.office().configure(vpn, revision);
        self.file.write(plan.as_ref());
    }
}

/// The server, as those who manage people see it.
struct View(Handle);

impl ServerView for View {
    fn sessions(&self) -> Vec<SessionView> {
        let status = self.0.status().blocking_recv().unwrap_or_default();
        status.sessions.into_iter().map(view).collect()
    }

    fn disconnect(&self, whom: &DisconnectRequest) -> u32 {
        let user = || whom.user.as_ref().and_then(|user| user.parse().ok()).map(Whom::User);
        let session = || whom.session.map(Whom::Session);
        let Some(whom) = whom.all.then_some(Whom::Everybody).or_else(session).or_else(user) else { return 0 };
        let ended = self.0.disconnect(whom).blocking_recv().unwrap_or_default();
        u32::try_from(ended).unwrap_or(u32::MAX)
    }

    fn configure(&self, plan: Option<VpnPlan>) {
        self.0.configure(plan.map(Box::new));
    }

    fn offload_fault(&self) -> Option<String> {
        self.0.status().blocking_recv().unwrap_or_default().offload_fault
    }
}

fn view(session: SessionStatus) -> SessionView {
    let time = |unix_s: u64| {
        let time = i64::try_from(unix_s).ok().and_then(|unix_s| jiff::Timestamp::from_second(unix_s).ok());
        time.map(|time| time.to_string()).unwrap_or_default()
    };
    SessionView {
        id: session.id,
        user: session.user,
        device: session.device,
        label: None,
        group: session.group,
        from: session.from.to_string(),
        transport: if session.tcp { "tcp" } else { "udp" }.to_owned(),
        addresses: session.addresses.iter().map(ToString::to_string).collect(),
        networks: session.networks.iter().map(ToString::to_string).collect(),
        since: time(session.since_unix_s),
        renewed: session.renewed_unix_s.map(time),
        bytes_in: session.bytes_in,
        bytes_out: session.bytes_out,
        cipher: session.cipher.to_owned(),
        client: session.client,
        carried_on: session.carried_on,
        in_kernel: session.in_kernel,
    }
}
