//! The engine of `rempart-wireguard` on a thread of its own, with a TUN device: works on every kernel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rempart_config::model::Device;
use rempart_plan::wireguard::MAX_LISTEN;
use rempart_system::realtime::Waker;
use rempart_system::tun::TunError;
use rempart_system::tunnel::{Queue, Socket};
use rempart_wireguard::{Backend, BackendError, INITIATION, Known, PeerStatus, PublicKey, Settings};

use super::worker::{Command, Door, Worker};
use super::{Input, PATIENCE};

/// Commands that wait for the thread.
const COMMANDS: usize = 64;

/// The engine as seen from outside.
pub struct Userspace {
    doors: Vec<(SocketAddr, Arc<Door>)>,
    commands: SyncSender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Userspace {
    /// Makes the device, down and without addresses, and starts the thread. What it finds out of peers goes to `news`.
    pub(super) fn open(device: &Device, news: SyncSender<Input>) -> Result<Self, TunError> {
        let failed = |source| TunError::Create { device: device.as_str().to_owned(), source };
        let queue = Queue::open(device)?;
        let ((commands, inbox), waker) = (sync_channel(COMMANDS), Waker::new().map_err(failed)?);
        let worker = Worker::new(queue, inbox, waker.clone(), news);
        let thread = std::thread::Builder::new().name("wireguard-data".to_owned());
        let thread = Some(thread.spawn(move || worker.run()).map_err(failed)?);
        Ok(Self { doors: Vec::new(), commands, waker, thread })
    }

    fn send(&self, command: Command) -> bool {
        let done = match self.commands.try_send(command) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(command)) => {
                self.waker.wake();
                self.commands.send(command).is_ok()
            }
        };
        self.waker.wake();
        if !done {
            tracing::error!("the data path of WireGuard has ended; the program has to be started again");
        }
        done
    }
}

impl Backend for Userspace {
    fn name(&self) -> &'static str {
        "userspace"
    }

    fn configure(&mut self, mut settings: Settings) -> Result<(), BackendError> {
        settings.check()?;
        settings.sockets.truncate(MAX_LISTEN);
        let mut doors = Vec::with_capacity(settings.sockets.len());
        for local in &settings.sockets {
            let known = self.doors.iter().find(|(address, _)| address == local);
            let door = match known {
                Some((_, door)) => Arc::clone(door),
                None => Arc::new(open(*local)?),
            };
            doors.push((*local, door));
        }
        self.doors = doors;
        let doors = self.doors.iter().map(|(_, door)| Arc::clone(door)).collect();
        self.send(Command::Configure(Box::new(settings), doors));
        Ok(())
    }

    fn carry(&mut self, known: Vec<(PublicKey, Known)>) {
        self.send(Command::Carry(known));
    }

    fn rest(&mut self) {
        self.send(Command::Rest);
    }

    fn status(&self) -> Vec<PeerStatus> {
        let (answer, status) = sync_channel(1);
        self.send(Command::Status(answer));
        status.recv_timeout(PATIENCE).unwrap_or_default()
    }
}

/// Initiations have a queue of their own, so that a flood of them leaves room for everything else.
fn open(local: SocketAddr) -> Result<Door, BackendError> {
    let opened = || -> io::Result<Door> {
        let (all, initiations) = (Socket::bind(local, true)?, Socket::bind(local, true)?);
        all.steer(INITIATION)?;
        Ok(Door { all, initiations })
    };
    opened().map_err(|source| BackendError::System { what: format!("listening on {local}"), source })
}

impl Drop for Userspace {
    fn drop(&mut self) {
        let _ = self.commands.try_send(Command::Stop);
        // A full queue is emptied, and then it is seen that nobody is there any more.
        self.commands = sync_channel(1).0;
        self.waker.wake();
        // One that has panicked has said so.
        self.thread.take().map(JoinHandle::join);
    }
}
