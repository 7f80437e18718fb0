//! The verbs about remote access against a daemon that remembers what it was asked, on a bus of its own.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::{Arc, Mutex, mpsc};

use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{Profile, TestReport, VpnStatus};
use rempart_bus::{Error, VPN_NAME, VPN_PATH};
use support::{PrivateBus, rempart};

type Calls = Arc<Mutex<Vec<String>>>;

/// Answers as little as these tests need.
struct Fake(Calls);

impl Fake {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

#[zbus::interface(name = "org.rempart.Vpn1")]
impl Fake {
    async fn status(&self) -> Result<String, Error> {
        let status = VpnStatus { active_node: Some("rte02".into()), ..VpnStatus::default() };
        Ok(serde_json::to_string(&status).unwrap())
    }
    async fn set_password(&self, name: &str, password: &str, by: &str) -> Result<(), Error> {
        self.note(format!("password {name} {password} {by}"));
        Ok(())
    }
    async fn add_user(&self, user: &str, by: &str) -> Result<(), Error> {
        self.note(format!("add {user} {by}"));
        Ok(())
    }
    async fn remove_user(&self, _name: &str, _by: &str) -> Result<(), Error> {
        Err(RefusalCode::VpnStandby.error("this node is on standby; ask rte02, which is active"))
    }
    async fn export(&self, request: &str, _by: &str) -> Result<String, Error> {
        self.note(format!("export {request}"));
        let profile = Profile {
            device: "0102030405060708".into(),
            user: "alice".into(),
            label: "laptop".into(),
            until: "2027-09-01T12:00:00Z".into(),
            file: "alice-laptop.ovpn".into(),
            text: "client\n<key>secret</key>\n".into(),
        };
        Ok(serde_json::to_string(&profile).unwrap())
    }
    async fn import_authority(&self, file: &[u8], password: &str, _by: &str) -> Result<String, Error> {
        self.note(format!("import {} {password}", file.len()));
        Ok(r#"{"what":"CA","advice":[]}"#.into())
    }
    async fn test_login(&self, request: &str) -> Result<String, Error> {
        self.note(format!("test {request}"));
        let report = TestReport { accepted: request.contains("right"), ..TestReport::default() };
        Ok(serde_json::to_string(&report).unwrap())
    }
}

fn serve(bus: &PrivateBus) -> Calls {
    let calls = Calls::default();
    let (address, own) = (bus.address.clone(), calls.clone());
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let connection = zbus::connection::Builder::address(address.as_str())
                .serve_at(VPN_PATH, Fake(own))
                .name(VPN_NAME)
                .build()
                .await
                .unwrap();
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(connection);
        });
    });
    wait.recv().unwrap();
    calls
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// In: passwords on the standard input. Out: they reach the daemon, and are printed nowhere.
#[test]
fn passwords_come_by_the_standard_input() {
    let bus = PrivateBus::start("vpn-password");
    let calls = serve(&bus);
    let set = rempart(&bus.address, &["vpn", "password", "alice"], Some("correct horse battery\n"));
    assert_eq!((set.status.code(), out(&set).as_str()), (Some(0), "Done.\n"), "{}", err(&set));
    let none = rempart(&bus.address, &["vpn", "password", "alice"], Some("\n"));
    assert_eq!(none.status.code(), Some(2), "an empty line is no password");
    let removed = rempart(&bus.address, &["vpn", "password", "alice", "--remove"], None);
    assert_eq!(removed.status.code(), Some(0));
    for (password, code) in [("right", 0), ("wrong", 1)] {
        let tried = rempart(&bus.address, &["vpn", "test", "login", "alice"], Some(password));
        assert_eq!(tried.status.code(), Some(code));
        assert!(!(out(&tried) + &err(&tried)).contains(password));
    }
    let calls = calls.lock().unwrap();
    assert_eq!(calls[..2], ["password alice correct horse battery alice", "password alice  alice"]);
    assert!(calls[2].contains(r#""password":"right""#), "{calls:?}");
}

/// In: what a person types. Out: what the daemon is asked; a node on standby names the one to ask.
#[test]
fn people_are_managed() {
    let bus = PrivateBus::start("vpn-people");
    let calls = serve(&bus);
    let add = [
        "vpn",
        "user",
        "add",
        "alice",
        "--groups",
        "agents,chiefs",
        "--expires",
        "2027-01-01",
        "--name",
        "A. Martin",
    ];
    assert_eq!(bus.rempart(&add).status.code(), Some(0));
    let wanted = r#"add {"name":"alice","full_name":"A. Martin","groups":["agents","chiefs"],"expires":"2027-01-01"} alice"#;
    assert_eq!(*calls.lock().unwrap(), [wanted]);
    let refused = bus.rempart(&["vpn", "user", "remove", "alice", "--lang", "fr"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("rte02"), "{}", err(&refused));
    let unserved = rempart("unix:path=/nonexistent", &["vpn"], None);
    assert_eq!(unserved.status.code(), Some(3));
}

/// In: where a profile shall go. Out: a file for its owner alone, which is never overwritten; the standard output; JSON.
#[test]
fn profiles_go_where_they_should() {
    let bus = PrivateBus::start("vpn-export");
    let calls = serve(&bus);
    let folder = std::env::temp_dir().join(format!("rempart-usb-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap();
    let export = ["vpn", "export", "alice", "--label", "laptop", "--out", path];
    let done = bus.rempart(&export);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    let file = folder.join("alice-laptop.ovpn");
    assert!(out(&done).contains(file.to_str().unwrap()) && !out(&done).contains("secret"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // It is there already: the daemon has made a key that is lost, and the person reads how to get another.
    let lost = bus.rempart(&export);
    assert_eq!(lost.status.code(), Some(2));
    assert!(err(&lost).contains("--device 0102030405060708"), "{}", err(&lost));
    // Named as a file: nothing is even asked.
    let asked = calls.lock().unwrap().len();
    let there = bus.rempart(&["vpn", "export", "alice", "--out", file.to_str().unwrap()]);
    assert_eq!((there.status.code(), calls.lock().unwrap().len()), (Some(2), asked));
    let printed = bus.rempart(&["vpn", "export", "--device", "0102030405060708", "--out", "-"]);
    assert_eq!(out(&printed), "client\n<key>secret</key>\n");
    let json: Profile =
        serde_json::from_str(&out(&bus.rempart(&["vpn", "export", "alice", "--json"]))).unwrap();
    assert_eq!(json.file, "alice-laptop.ovpn");
    let authority = bus.rempart(&["vpn", "authority", "import", file.to_str().unwrap()]);
    assert_eq!(out(&authority), "Taken over: CA\n", "{}", err(&authority));
    std::fs::remove_dir_all(folder).unwrap();
}
