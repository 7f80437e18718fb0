//! The hands of the server: everything of it that touches the kernel, and the thread that it runs on.
//!
//! ```text
//!   people, replica, bus ──▶ ┌─────────────┐ ──▶ line     two threads for each shard: TUN ◀▶ UDP sockets
//!   shards: control, events ▶│ Gate        │ ──▶ streams  one thread: TCP connections ◀▶ shard
//!   streams: control, ends ─▶│ one thread  │ ──▶ kernel   one thread: nft sets, routes, connections
//!                            └─────────────┘
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | here | the thread of the server, what it waits for, what it does for the machine |
//! | `handle` | how other threads speak to it |
//! | `line` | the shards of the data path and the kernel's half, and which session belongs to which |
//! | `streams` | TCP: listening, connections, their bounds |
//! | `kernel` | what is reachable: sets of the ruleset, routes, connections that end; the device's addresses |

mod handle;
mod kernel;
mod line;
mod streams;

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rempart_config::model::Device;
use rempart_openvpn::Now;
use rempart_openvpn::data::PeerId;
use rempart_plan::vpn::VpnPlan;
use rempart_system::realtime::{Waker, wait};
use rempart_system::tun::TunError;
use rempart_tunnel::kernel::{SWITCH, Told};
use rempart_tunnel::{Event, Framed, Gone, Incoming, Outlets, STREAM_ROWS};

use super::server::status::Status;
use super::server::{Action, Machine, Surroundings};
use crate::notify;
pub use handle::{Handle, Input};
use kernel::Kernel;
pub use kernel::NftTable;
use line::{Devices, Line};
use streams::Streams;

/// Sessions that a shard has room for: several times what a document can ask for, so that a session that begins in place of
/// another always fits.
const CAPACITY: usize = 1 << 14;
/// Control packets between two looks at what is urgent.
const BURST: usize = 16;
/// The longest wait: a session's timer may be set by nothing else than time.
const LONGEST: Duration = Duration::from_secs(1);

/// Why the server's thread has ended.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The threads of the data path have.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The device cannot be made.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// A thread, a descriptor.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The document asks for other devices from now on. Sessions outlive the program's end, and what the kernel has of them
    /// does not.
    #[error("the document asks for other devices of the tunnel; the program has to be started again")]
    Devices,
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Broken {
    move |source| Broken::Io { what, source }
}

/// The thread of the server.
pub struct Gate {
    machine: Machine,
    handle: Handle,
    inbox: Receiver<Input>,
    waker: Waker,
    outlets: Outlets,
    events: Receiver<Event>,
    control: Receiver<Incoming>,
    line: Option<Line>,
    shards: usize,
    switch: Duration,
    /// When the kernel's half is looked at next.
    tick_at: Instant,
    /// When systemd is told next.
    alive_at: Instant,
    streams: Streams,
    kernel: Kernel,
}

/// What makes the machine's surroundings, once there is a way to speak to the server.
pub type Assemble<'a> = Box<dyn FnOnce(&Handle) -> anyhow::Result<Surroundings> + 'a>;

impl Gate {
    /// In the network namespace of the calling thread, which the server's threads inherit. Nothing is listened to before
    /// there is a plan ([`Handle`] gives it).
    pub fn new(table: NftTable, assemble: Assemble<'_>) -> anyhow::Result<(Self, Handle)> {
        let waker = Waker::new()?;
        let (handle, inbox) = Handle::new(waker.clone());
        let (outlets, events, control) = Outlets::new();
        let (rows, framed) = sync_channel::<Framed>(STREAM_ROWS);
        let stream_waker = Waker::new()?;
        let outlets = outlets.waking(waker.clone()).with_streams(rows, stream_waker.clone());
        let streams = Streams::start(framed, stream_waker, outlets.clone(), handle.clone())?;
        let kernel = Kernel::start(table)?;
        let machine = Machine::new(assemble(&handle)?);
        let gate = Self {
            machine,
            handle: handle.clone(),
            inbox,
            waker,
            outlets,
            events,
            control,
            line: None,
            shards: line::fitting(),
            switch: SWITCH,
            tick_at: Instant::now(),
            alive_at: Instant::now(),
            streams,
            kernel,
        };
        Ok((gate, handle))
    }

    /// With another number of shards than pay on this machine, if the kernel lets us have several.
    pub fn with_shards(self, shards: usize) -> Self {
        Self { shards: shards.max(1), ..self }
    }

    /// With another time than stock clients need before the kernel sends under a newer key: for tests, which have no minute.
    pub fn with_switch(self, switch: Duration) -> Self {
        Self { switch, ..self }
    }

    /// Runs the server on a thread of its own until it is stopped.
    pub fn spawn(self) -> Result<JoinHandle<Result<(), Broken>>, Broken> {
        let thread = std::thread::Builder::new().name("vpn-server".to_owned());
        thread.spawn(move || self.run()).map_err(io("starting the server's thread"))
    }

    /// Runs the server until it is stopped. What clients see of that end is nothing.
    pub fn run(mut self) -> Result<(), Broken> {
        let mut ready = Vec::new();
        loop {
            if self.handle_inbox()? {
                return Ok(());
            }
            let mut more = false;
            for _ in 0..BURST {
                let Ok(Incoming { path, packet }) = self.control.try_recv() else { break };
                more = true;
                self.machine.handle_control(now(), path, &packet);
                self.act()?;
                if self.handle_inbox()? {
                    return Ok(());
                }
            }
            while let Ok(mut event) = self.events.try_recv() {
                self.line.iter_mut().for_each(|line| line.amend(&mut event));
                self.machine.handle_event(now(), event);
                self.act()?;
            }
            let due = self.machine.poll_timeout();
            if due.is_some_and(|due| due <= Instant::now()) {
                self.machine.handle_timeout(now());
                self.act()?;
            }
            if self.tick_at <= Instant::now() {
                self.tick_at = Instant::now() + LONGEST;
                self.line.iter_mut().for_each(|line| line.tick(Instant::now()));
                self.act()?;
            }
            if self.line.as_ref().is_some_and(|line| !line.is_alive()) {
                return Err(Gone.into());
            }
            if self.alive_at <= Instant::now() {
                self.alive_at = Instant::now() + notify::PERIOD;
                notify::alive();
            }
            let left = self.machine.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
            let longest = if more { Duration::ZERO } else { LONGEST };
            let time = left.unwrap_or(LONGEST).min(longest);
            let kernel = self.line.as_ref().and_then(Line::notices);
            wait([self.waker.as_fd()].into_iter().chain(kernel), Some(time), &mut ready)
                .map_err(io("waiting"))?;
            if ready.first() == Some(&true) {
                self.waker.rest();
            }
            if ready.get(1) == Some(&true) {
                self.tick_at = Instant::now();
            }
        }
    }

    /// Everything that others have said; whether one of them said stop.
    fn handle_inbox(&mut self) -> Result<bool, Broken> {
        while let Ok(input) = self.inbox.try_recv() {
            match input {
                Input::People(news) => self.machine.handle_people(now(), news),
                Input::Replica(news) => self.machine.handle_replica(now(), news),
                Input::Settled(number) => self.machine.handle_settled(number),
                Input::HungUp(remote) => self.machine.handle_hang_up(now(), remote),
                // Who asked may have gone.
                Input::Status(answer) => drop(answer.send(self.status())),
                Input::Disconnect(whom, answer) => {
                    let _ = answer.send(self.machine.disconnect(now(), &whom));
                }
                Input::Configure(Some(plan)) => self.configure(*plan)?,
                Input::Configure(None) => self.dismiss()?,
                Input::Stop => return Ok(true),
            }
            self.act()?;
        }
        Ok(false)
    }

    /// Of the machine, and of who carries its sessions.
    fn status(&self) -> Status {
        let mut status = self.machine.status();
        let Some(line) = &self.line else { return status };
        status.offload_fault = line.offload_fault().map(str::to_owned);
        for session in &mut status.sessions {
            session.in_kernel = PeerId::new(session.id).is_some_and(|peer| line.in_kernel(peer));
        }
        status
    }

    /// Sockets and the devices first, so that what the machine says about them is true.
    fn configure(&mut self, mut plan: VpnPlan) -> Result<(), Broken> {
        let tun = Device::new(plan.device.clone());
        let devices = Devices { tun, kernel: plan.kernel_device.clone().map(Device::new) };
        let line = match &mut self.line {
            Some(line) if line.devices != devices => return Err(Broken::Devices),
            Some(line) => line,
            None => self.line.insert(Line::open(devices, self.shards, self.switch, &self.outlets)?),
        };
        // Where nothing could be bound, nothing is listened to; the next plan is the next try.
        plan.udp = line.listen(&plan.udp)?;
        self.kernel.configure(line.devices.tun.clone(), line.kernel_device().cloned(), &plan);
        if let Some(line) = &self.line {
            self.streams.listen(plan.tcp.clone(), line.feeder());
        }
        self.machine.configure(now(), plan);
        Ok(())
    }

    /// The document asks for no remote access: the device goes, and nothing is listened to.
    fn dismiss(&mut self) -> Result<(), Broken> {
        self.machine.dismiss(now());
        self.act()?;
        if let Some(line) = self.line.take() {
            self.streams.listen(Vec::new(), line.feeder());
            self.kernel.dismiss();
        }
        Ok(())
    }

    /// Does what the machine wants, and hears what the kernel's half has to say about it.
    fn act(&mut self) -> Result<(), Broken> {
        loop {
            self.act_first()?;
            let Some(told) = self.line.as_mut().and_then(Line::poll_told) else { return Ok(()) };
            match told {
                Told::Event(event) => self.machine.handle_event(now(), event),
                Told::Lead { networks, kernel } => self.kernel.lead(networks, kernel),
                Told::Trouble(error) => tracing::warn!(%error, "the kernel's half of the VPN"),
            }
        }
    }

    fn act_first(&mut self) -> Result<(), Broken> {
        while let Some(action) = self.machine.poll_action() {
            let Some(line) = &mut self.line else { continue };
            match action {
                Action::Send(path, packet) => {
                    // It is sent again when it is not acknowledged.
                    if let Err(error) = line.send_control(path, &packet) {
                        tracing::trace!(to = %path.remote, %error, "a control packet was not sent");
                    }
                }
                Action::Data(data) => line.tell(data)?,
                Action::Reachable(networks) => self.kernel.reachable(networks),
                Action::Unreachable { networks, forget } => self.kernel.unreachable(networks, forget),
                Action::Trust(remote) => self.streams.trust(remote),
                Action::HangUp(remote) => self.streams.hang_up(remote),
                Action::HangUpAll => self.streams.hang_up_all(),
                Action::Settle(number) => {
                    let handle = self.handle.clone();
                    self.kernel.settle(Box::new(move || handle.tell(Input::Settled(number))));
                }
            }
        }
        Ok(())
    }
}

/// Both clocks.
pub fn now() -> Now {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { instant: Instant::now(), unix_s }
}
