//! A bus of its own and a daemon that answers with the fixtures.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use rempart_bus::documents::{CommitReport, CommitRequest, Connection, LogPage, Pending, Revision, Status};
use rempart_bus::{CONTROL_NAME, CONTROL_PATH, Error};

/// A fixture's text.
pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A `dbus-daemon` that ends with the test.
pub struct PrivateBus {
    daemon: Child,
    folder: PathBuf,
    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub address: String,
}

impl PrivateBus {
    /// Starts one in a folder of its own.
    pub fn start(name: &str) -> PrivateBus {
        let folder = std::env::temp_dir().join(format!("rempart-console-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("bus.conf");
        let listen = folder.join("bus");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
            listen.display()
        );
        std::fs::write(&config, text).expect("the bus configuration");
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            // Without root it complains about a limit that does not matter here.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon of the package dbus-daemon");
        let mut address = String::new();
        let out = daemon.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut address).expect("the address of the bus");
        PrivateBus { daemon, folder, address: address.trim().to_owned() }
    }

    /// Starts the fake daemon on it, in a thread that ends with the test program.
    pub fn serve(&self) -> Arc<Mutex<Calls>> {
        let calls = Arc::new(Mutex::new(Calls::default()));
        let (address, own) = (self.address.clone(), calls.clone());
        let (ready, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let fake = Fake { calls: own, ticks: Mutex::new(0), pending: Mutex::new(None) };
                let connection = zbus::connection::Builder::address(address.as_str())
                    .serve_at(CONTROL_PATH, fake)
                    .name(CONTROL_NAME)
                    .build()
                    .await
                    .expect("the fake daemon is on the bus");
                ready.send(()).expect("the test waits");
                std::future::pending::<()>().await;
                drop(connection);
            });
        });
        wait.recv().expect("the fake daemon starts");
        calls
    }

    /// Runs the console on it.
    pub fn rempart(&self, arguments: &[&str]) -> Output {
        rempart(&self.address, arguments, None)
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs the console against a bus, with a text on its standard input.
pub fn rempart(address: &str, arguments: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rempart"));
    command.args(arguments).env_clear();
    command.env("DBUS_SYSTEM_BUS_ADDRESS", address).env("LANG", "C.UTF-8").env("SUDO_USER", "alice");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", "UTC");
    command.env("SSH_CONNECTION", "192.168.10.21 50022 192.168.10.1 22");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the console");
    use std::io::Write;
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.unwrap_or("").as_bytes()).expect("the console reads");
    drop(stdin);
    child.wait_with_output().expect("the console ends")
}

/// What the fake daemon was asked.
#[derive(Default)]
pub struct Calls {
    /// Documents that were checked, loaded or planned.
    pub documents: Vec<String>,
    /// Commits and roll-backs.
    pub commits: Vec<CommitRequest>,
    /// Connections that were ended.
    pub killed: Vec<u32>,
}

/// The commit on trial and when it goes back, in the fake's own seconds.
struct Trial {
    revision: u32,
    until: std::time::Instant,
}

struct Fake {
    calls: Arc<Mutex<Calls>>,
    ticks: Mutex<u64>,
    pending: Mutex<Option<Trial>>,
}

impl Fake {
    fn commit(&self, request: &str) -> Result<String, Error> {
        let request: CommitRequest =
            serde_json::from_str(request).map_err(|e| Error::Failed(e.to_string()))?;
        let comment = request.comment.clone();
        let (confirm_s, force) = (request.confirm_s, request.force);
        self.calls.lock().unwrap().commits.push(request);
        match comment.as_str() {
            "invalid" => return Err(Error::Invalid(fixture("check-invalid.json"))),
            "assertion" => return Err(Error::Assertion(fixture("check-assertion.json"))),
            "lockout" if !force => {
                return Err(Error::LockOut("ssh from 192.168.10.21 would be refused.".into()));
            }
            "busy" => return Err(Error::Busy("revision 13 waits for confirmation.".into())),
            "apply" => return Err(Error::Apply("nft: too many elements".into())),
            "failed" => return Err(Error::Failed("the disk is full".into())),
            _ => {}
        }
        let mut report: CommitReport = serde_json::from_str(&fixture("commit.json")).unwrap();
        report.confirm_s = confirm_s;
        *self.pending.lock().unwrap() = confirm_s.map(|s| Trial {
            revision: report.revision,
            until: std::time::Instant::now() + std::time::Duration::from_secs(s.into()),
        });
        Ok(serde_json::to_string(&report).unwrap())
    }
}

#[zbus::interface(name = "org.rempart.Control1")]
impl Fake {
    async fn status(&self) -> Result<String, Error> {
        let Some(trial) = &*self.pending.lock().unwrap() else {
            *self.ticks.lock().unwrap() += 1;
            return Ok(fixture("status.json"));
        };
        let mut status: Status = serde_json::from_str(&fixture("status.json")).unwrap();
        status.pending = Some(Pending {
            revision: trial.revision,
            previous: Some(12),
            left_s: trial.until.saturating_duration_since(std::time::Instant::now()).as_secs(),
            author: "alice".into(),
        });
        Ok(serde_json::to_string(&status).unwrap())
    }
    async fn flows(&self) -> Result<String, Error> {
        Ok(fixture("flows.json"))
    }
    async fn connections(&self, limit: u32) -> Result<String, Error> {
        let mut list: Vec<Connection> = serde_json::from_str(&fixture("connections.json")).unwrap();
        if limit < list.len() as u32 {
            list.truncate(limit as usize);
            return Ok(serde_json::to_string(&list).unwrap());
        }
        Ok(fixture("connections.json"))
    }
    async fn kill(&self, ids: &[u32]) -> Result<u32, Error> {
        self.calls.lock().unwrap().killed.extend(ids);
        if ids == [999] { Err(Error::NotFound("connection 999".into())) } else { Ok(ids.len() as u32) }
    }
    async fn log(&self, after: u64) -> Result<String, Error> {
        if after == 0 {
            return Ok(fixture("log.json"));
        }
        let mut page: LogPage = serde_json::from_str(&fixture("log.json")).unwrap();
        page.entries.truncate(1);
        page.entries[0].sequence = after + 1;
        page.next = after + 1;
        Ok(serde_json::to_string(&page).unwrap())
    }
    async fn check(&self, document: &str) -> Result<String, Error> {
        self.calls.lock().unwrap().documents.push(document.to_owned());
        Ok(fixture(if document.contains("mial") { "check-invalid.json" } else { "check-valid.json" }))
    }
    async fn plan(&self, document: &str) -> Result<String, Error> {
        self.calls.lock().unwrap().documents.push(document.to_owned());
        Ok(fixture("plan.txt"))
    }
    async fn explain(&self, _request: &str) -> Result<String, Error> {
        Ok(fixture("explanation.json"))
    }
    async fn candidate(&self) -> Result<String, Error> {
        Ok("version = 1\n".to_owned())
    }
    async fn load(&self, document: &str) -> Result<(), Error> {
        self.calls.lock().unwrap().documents.push(document.to_owned());
        Ok(())
    }
    #[zbus(name = "Commit")]
    async fn commit_bus(&self, request: &str) -> Result<String, Error> {
        self.commit(request)
    }
    async fn confirm(&self) -> Result<u32, Error> {
        let trial = self.pending.lock().unwrap().take();
        trial.map(|t| t.revision).ok_or_else(|| Error::NotFound("no commit waits for confirmation".into()))
    }
    async fn revert(&self) -> Result<u32, Error> {
        let trial = self.pending.lock().unwrap().take();
        trial.map(|_| 12).ok_or_else(|| Error::NotFound("no commit waits for confirmation".into()))
    }
    async fn rollback(&self, revision: u32, request: &str) -> Result<String, Error> {
        if revision > 12 {
            return Err(Error::NotFound(format!("revision {revision}")));
        }
        self.commit(request)
    }
    async fn history(&self) -> Result<String, Error> {
        Ok(fixture("history.json"))
    }
    async fn show(&self, revision: u32) -> Result<String, Error> {
        let known: Vec<Revision> = serde_json::from_str(&fixture("history.json")).unwrap();
        match known.iter().any(|r| r.number == revision) {
            true => Ok(format!("version = 1\n# revision {revision}\n")),
            false => Err(Error::NotFound(format!("revision {revision}"))),
        }
    }
    async fn diff(&self, from: &str, to: &str) -> Result<String, Error> {
        Ok(if from == to { String::new() } else { fixture("candidate.diff") })
    }
}
