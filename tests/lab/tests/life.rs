//! Labs come and go: side by side, and without leaving anything.

mod stage;

use std::fs;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rempart_lab::{HostSpec, Lab, Record, Topology, Transport, output_within, skip_unless_root, wait_until};
use stage::{Stage, text};

const LONG: Duration = Duration::from_secs(60);

/// In: two labs at once, with the same addresses. Out: each host talks to its own lab's.
#[test]
fn two_labs_stand_side_by_side() {
    skip_unless_root!();
    let build = || {
        let host = |name: &str, n: u8| {
            HostSpec::new(name).leg("eth0", "wire", [format!("10.0.0.{n}/24").parse().unwrap()])
        };
        Lab::builder().host(host("a", 1)).host(host("b", 2)).up().unwrap()
    };
    let labs = [build(), build()];
    assert_ne!(labs[0].host("a").namespace(), labs[1].host("a").namespace());
    let to = "10.0.0.2:7000".parse().unwrap();
    let echo = labs[0].host("b").echo(Transport::Tcp, to).unwrap();
    assert!(labs[0].host("a").probe(Transport::Tcp, to).run().unwrap().passes());
    assert!(!labs[1].host("a").probe(Transport::Tcp, to).run().unwrap().passes());
    drop(echo);
    let [first, second] = labs;
    drop(first);
    assert!(second.host("a").must(&["ip", "-br", "addr"]).unwrap().contains("10.0.0.1/24"));
}

/// In: a lab with servers, a process of its own and one that left its group; dropped, and dropped by a panic.
/// Out: no namespace, no process, no file is left.
#[test]
fn nothing_is_left() {
    skip_unless_root!();
    for panicking in [false, true] {
        let mut left = None;
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let lab = Lab::builder().topology(Topology::standard()).up().unwrap();
            let host = lab.host("cli-lan");
            let mut sleep = host.command("setsid");
            sleep.args(["--fork", "sleep", "1000"]);
            let mut fork = host.spawn("fork", sleep).unwrap();
            fork.wait(LONG);
            let mut sleep = host.command("sleep");
            sleep.arg("1000");
            let own = host.spawn("own", sleep).unwrap();
            let trace = Trace::of(lab.record());
            assert!(trace.processes.len() >= 7, "{trace:?}");
            assert!(trace.processes.contains(&(own.pid() as i32)));
            left = Some(trace);
            own.detach();
            if panicking {
                panic!("on purpose");
            }
        }));
        left.expect("the lab stood").assert_gone();
    }
}

/// In: the lab of a test that was killed. Out: the next one removes it; a lab whose owner lives stays.
#[test]
fn an_abandoned_lab_is_removed() {
    skip_unless_root!();
    let host = || HostSpec::new("a").leg("eth0", "wire", []);
    let living = Lab::builder().host(host()).up().unwrap();
    let killed = Lab::builder().host(host()).up().unwrap();
    let trace = Trace::of(killed.record());
    let file = Path::new("/run/rempart-lab").join(format!("{}.json", killed.name()));
    // The same process id, started at another time: not the owner any more.
    let text = fs::read_to_string(&file).unwrap();
    let started = killed.record().owner.unwrap().started;
    fs::write(&file, text.replace(&format!("\"started\": {started}"), "\"started\": 1")).unwrap();
    std::mem::forget(killed);
    rempart_lab::remove_abandoned();
    trace.assert_gone();
    assert!(Record::find(living.name()).is_ok());
}

/// In: `lab up --detach` and the other verbs, with stand-ins for the product. Out: each does what it says, and
/// a second `up` says that the lab is there.
#[test]
fn the_command_keeps_a_lab() {
    skip_unless_root!();
    let stage = Stage::new("keep", "echo \"console $*\"");
    let up = stage.lab(&["up", "--detach"]);
    assert!(up.status.success(), "{up:?}");
    let trace = Trace::of(&Record::find(&stage.name).unwrap());

    let again = stage.lab(&["up", "--detach"]);
    assert!(!again.status.success() && text(&again.stderr).contains("is already up"), "{again:?}");
    let page = stage.lab(&["exec", "inet", "curl", "-sS", "--noproxy", "*", "http://198.51.100.1/"]);
    assert_eq!(text(&page.stdout), "inet\n", "{page:?}");
    let code = stage.lab(&["exec", "cli-lan", "sh", "-c", "exit 7"]);
    assert_eq!(code.status.code(), Some(7));
    let unknown = stage.lab(&["exec", "nobody", "true"]);
    assert!(text(&unknown.stderr).contains("cli-lan"), "{unknown:?}");
    assert_eq!(text(&stage.lab(&["console", "status", "--json"]).stdout), "console status --json\n");
    // On the router, the product's programs find their bus.
    let names = stage.lab(&[
        "exec",
        "rte01",
        "sh",
        "-c",
        "dbus-send --system --print-reply \
        --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames",
    ]);
    assert!(text(&names.stdout).contains("org.rempart.Control1"), "{names:?}");
    let status = text(&stage.plain(&["status"]).stdout);
    assert!(status.contains(&stage.name) && status.contains("srv-ebrigade"), "{status}");

    let down = stage.lab(&["down"]);
    assert!(down.status.success(), "{down:?}");
    trace.assert_gone();
    assert!(text(&stage.lab(&["down"]).stderr).contains("there is no lab"));
}

/// In: `lab up` in the foreground, ended by its console, by a signal, by SIGKILL. Out: all of it is gone; after
/// SIGKILL, once `lab down` has run.
#[test]
fn the_command_cleans_up() {
    skip_unless_root!();
    let stage = Stage::new("ends", "[ $# -gt 0 ] || exec sleep ${CONSOLE_SECS:-999}");
    let mut up = stage.command(&["up"]);
    up.env("CONSOLE_SECS", "0");
    let ended = output_within(up, LONG).unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(Record::find(&stage.name).is_err());

    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut up = stage.command(&["up"]);
        let mut up = up.process_group(0).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(wait_until(LONG, || stage.console_runs()), "no console came up");
        let trace = Trace::of(&Record::find(&stage.name).unwrap());
        kill(Pid::from_raw(up.id() as i32), signal).unwrap();
        up.wait().unwrap();
        if signal == Signal::SIGKILL {
            assert!(Record::find(&stage.name).unwrap().is_abandoned());
            let refused = stage.lab(&["up"]);
            assert!(text(&refused.stderr).contains("lab down"), "{refused:?}");
            assert!(stage.lab(&["down"]).status.success());
        }
        trace.assert_gone();
    }
}

/// In: a daemon that is killed and started again, and one that ends at once. Out: the first serves again on the same
/// bus; of the second, its last words.
#[test]
fn a_daemon_comes_and_goes() {
    skip_unless_root!();
    let stage = Stage::new("node", "echo \"$DBUS_SYSTEM_BUS_ADDRESS $*\"");
    let lab = Lab::builder().host(HostSpec::router("rte01")).host(HostSpec::router("rte02")).up().unwrap();
    let mut node = lab.start_node_with("rte01", &stage.program("rempartd")).unwrap();
    let first = node.daemon().unwrap().pid();
    assert!(node.start_daemon().is_err(), "it runs already");
    node.daemon().unwrap().kill();
    node.start_daemon().unwrap();
    assert_ne!(node.daemon().unwrap().pid(), first);
    let verb = output_within(node.command(stage.program("rempart")), LONG).unwrap();
    assert_eq!(text(&verb.stdout), format!("{} \n", node.bus_address()));

    let failing = lab.start_node_with("rte02", &stage.program("failing")).unwrap_err();
    assert!(format!("{failing:#}").contains("no licence to route"), "{failing:#}");
}

/// In: a document that is not there, and one that the stand-in refuses. Out: the reason, and nothing left.
#[test]
fn a_failed_start_leaves_nothing() {
    skip_unless_root!();
    let stage = Stage::new("fail", "echo 'line 3: no such thing' >&2; exit 1");
    let mut missing = Command::new(env!("CARGO_BIN_EXE_lab"));
    missing.args(["up", "--name", &stage.name, "--document", "/nowhere.toml"]);
    let missing = output_within(missing, LONG).unwrap();
    assert!(text(&missing.stderr).contains("/nowhere.toml"), "{missing:?}");
    let refused = stage.lab(&["up"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("line 3: no such thing"), "{refused:?}");
    assert!(Record::find(&stage.name).is_err());
}

/// What a lab consists of on the machine.
#[derive(Debug)]
struct Trace {
    namespaces: Vec<String>,
    processes: Vec<i32>,
    run_dir: PathBuf,
    file: PathBuf,
}

impl Trace {
    fn of(record: &Record) -> Self {
        let namespaces = namespaces_of(&record.prefix);
        assert_eq!(namespaces.len(), record.hosts.len() + 1);
        let pids = |name: &String| {
            let output = Command::new("ip").args(["netns", "pids", name]).output().unwrap();
            text(&output.stdout).lines().map(|l| l.parse().unwrap()).collect::<Vec<i32>>()
        };
        let processes = namespaces.iter().flat_map(pids).collect();
        let file = Path::new("/run/rempart-lab").join(format!("{}.json", record.name));
        Self { namespaces, processes, run_dir: record.run_dir(), file }
    }

    fn assert_gone(&self) {
        let prefix = self.namespaces[0].split('-').next().unwrap();
        assert_eq!(namespaces_of(prefix), Vec::<String>::new());
        for pid in &self.processes {
            // Dead and not yet waited for by whoever is to wait for it is gone, too.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        }
        assert!(!self.run_dir.exists() && !self.file.exists());
        for namespace in &self.namespaces {
            assert!(!Path::new("/etc/netns").join(namespace).exists());
        }
    }
}

fn namespaces_of(prefix: &str) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let names = text(&output.stdout);
    let names = names.lines().filter_map(|l| l.split(' ').next()).map(ToOwned::to_owned);
    names.filter(|n| n.starts_with(&format!("{prefix}-"))).collect()
}
