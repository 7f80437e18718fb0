//! One client of ours with a data path as fast as the server's: the stock client on the same two processors is slower than either
//! server, and hides them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rempart_config::model::Device;
use rempart_kernel_tests::node::Failure;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path};
use rempart_system::tunnel::{Queue, Socket};
use rempart_tunnel::{DataPath as _, Incoming, Outlets, Setup, Shard};

use super::client::{Client, Credentials};
use super::common::Namespace;

/// How long it may take to come up.
const START: Duration = Duration::from_secs(15);
/// How often it says that it is there.
const PING: Duration = Duration::from_secs(5);

/// A tunnel that is up. Dropping it ends it.
pub struct Generator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Generator {
    /// Comes up by a device of this name, whose network inside is as long as `prefix` says.
    pub fn up(
        namespace: &Namespace,
        credentials: &Arc<Credentials>,
        (local, to): (SocketAddr, SocketAddr),
        (device, prefix): (&str, u8),
    ) -> Result<Self, Failure> {
        let name = Device::new(device);
        let (queue, socket) = namespace.run(move || (Queue::open(&name), Socket::bind(local, false)));
        let (outlets, events, control) = Outlets::new();
        let setup = Setup { number: 9, queue: queue?, sockets: vec![socket?], capacity: 4 };
        let mut shard = Shard::start(setup, outlets)?;
        let now = Instant::now();
        let mut client = Client::new(credentials, now, u64::from(to.port()).to_be_bytes())?;
        let path = Path { local: 0, remote: to };
        while client.up().is_none() {
            if now.elapsed() > START {
                return Err(format!("no tunnel to {to}").into());
            }
            let packet = control.recv_timeout(Duration::from_millis(10)).ok();
            step(&mut client, &shard, path, packet)?;
        }
        let up = client.up().ok_or("no tunnel")?;
        let (address, (keys, ids, peer)) = (up.address, up.key()?);
        shard.add(peer, path, vec!["0.0.0.0/0".parse()?], None)?;
        shard.open_with(peer, KeySerial(1), Opener::new(&keys, 0))?;
        shard.seal_with(peer, KeySerial(1), Sealer::new(&keys, ids, peer)?)?;
        namespace.set_up(device, &[&format!("{address}/{prefix}")]);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            // Nobody hears them, and they must have room.
            let _events = events;
            let mut said = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let packet = control.recv_timeout(Duration::from_millis(100)).ok();
                // What it says late is of no use to anybody here.
                let _ = step(&mut client, &shard, path, packet);
                if said.elapsed() > PING {
                    said = Instant::now();
                    let _ = shard.ping(peer);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn step(client: &mut Client, shard: &Shard, path: Path, packet: Option<Incoming>) -> Result<(), Failure> {
    let now = Instant::now();
    if let Some(Incoming { packet, .. }) = packet {
        client.handle(now, &packet)?;
    }
    while let Some(packet) = client.poll_transmit(now)? {
        shard.send_control(path, &packet)?;
    }
    Ok(())
}
