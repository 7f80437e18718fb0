use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;

use super::*;

/// Longer than anything here takes, and than a refusal is waited for.
const SOON: Duration = Duration::from_secs(10);
/// Long enough for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// A bus of its own, which ends with the test.
struct Bus(Child, String);

impl Bus {
    fn start() -> Self {
        let address = format!("unix:tmpdir={}", std::env::temp_dir().display());
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address", "--address", &address])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon of the package dbus-daemon");
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().expect("a pipe")).read_line(&mut line).expect("an address");
        Self(daemon, line.trim().to_owned())
    }

    fn builder(&self) -> zbus::connection::Builder<'_> {
        zbus::connection::Builder::address(self.1.as_str())
    }

    /// A `rempart-vpn` that reports what it is told, and refuses as many times as it is said to.
    async fn vpn(&self, refuses: u32) -> (zbus::Connection, mpsc::UnboundedReceiver<(String, u32)>) {
        let (heard, told) = mpsc::unbounded_channel();
        let builder = self.builder().serve_at("/org/rempart/Vpn1", Fake { heard, refuses });
        (builder.name(VPN_NAME).build().await.expect("on the bus"), told)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Fake {
    heard: mpsc::UnboundedSender<(String, u32)>,
    refuses: u32,
}

#[zbus::interface(name = "org.rempart.Vpn1")]
impl Fake {
    fn configure(&mut self, plan: String, revision: u32) -> Result<(), rempart_bus::Error> {
        if let Some(left) = self.refuses.checked_sub(1) {
            self.refuses = left;
            return Err(rempart_bus::Error::Failed("not yet".into()));
        }
        let _ = self.heard.send((plan, revision));
        Ok(())
    }
}

fn told(plan: &str, revision: u32, tables: u64) -> Told {
    Told { plan: plan.into(), revision, tables }
}

async fn next(heard: &mut mpsc::UnboundedReceiver<(String, u32)>) -> Option<(String, u32)> {
    timeout(SOON, heard.recv()).await.ok().flatten()
}

fn plan(text: &str, revision: u32) -> Option<(String, u32)> {
    Some((text.to_owned(), revision))
}

/// A plan before `rempart-vpn` is there, others after, the same again, a table made anew, a restart, and a refusal; what
/// `rempart-vpn` hears each time.
#[tokio::test]
async fn it_is_told_whenever_there_is_something_to_say() {
    let bus = Bus::start();
    let connection = bus.builder().build().await.expect("on the bus");
    let remote = Remote::default();
    remote.connect(connection.clone());
    remote.tell(told("one", 1, 1));

    let (vpn, mut heard) = bus.vpn(0).await;
    assert_eq!(next(&mut heard).await, plan("one", 1), "told before it was there");
    remote.tell(told("one", 1, 1));
    assert!(timeout(A_WHILE, heard.recv()).await.is_err(), "nothing new");
    remote.tell(told("two", 2, 1));
    assert_eq!(next(&mut heard).await, plan("two", 2));
    remote.tell(told("two", 2, 2));
    assert_eq!(next(&mut heard).await, plan("two", 2), "the table was made anew");
    remote.tell(told("", 3, 2));
    assert_eq!(next(&mut heard).await, plan("", 3), "no remote access any more");

    vpn.close().await.expect("closed");
    remote.tell(told("four", 4, 2));
    let (vpn, mut heard) = bus.vpn(0).await;
    assert_eq!(next(&mut heard).await, plan("four", 4), "started anew");
    vpn.close().await.expect("closed");

    let (_vpn, mut heard) = bus.vpn(2).await;
    assert_eq!(next(&mut heard).await, plan("four", 4), "again until it takes it");
}
