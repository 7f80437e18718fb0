//! What `explain` says is what happens, and the verbs that ask answer.

use rempart_end_to_end::{SOON, Stage, VIRTUAL_WAN, datatel, small};
use rempart_lab::traffic::Reach;
use rempart_lab::{Process, Transport, skip_unless_root, wait_until};

const ECHO_PORTS: [u16; 4] = [25, 161, 5060, 10_000];

/// In: forty-odd packets over the example: zones by services by addresses. Out: allowed ones are answered, rejected ones refused, dropped ones silent.
#[test]
fn explain_agrees_with_what_happens() {
    skip_unless_root!();
    let stage = Stage::up(&datatel());
    let wan = VIRTUAL_WAN.to_string();
    stage.host("cli-wan").ip(&format!("route add 192.168.0.0/16 via {wan}\n")).expect("a route");
    // Somebody must answer what is let through.
    let mut echoes: Vec<Process> = Vec::new();
    let servers =
        [("srv-ebrigade", "192.168.20.11"), ("srv-voip", "192.168.10.13"), ("inet", "198.51.100.1")];
    for (host, address) in servers {
        for port in ECHO_PORTS {
            for transport in [Transport::Tcp, Transport::Udp] {
                let address = format!("{address}:{port}").parse().unwrap();
                echoes.push(stage.host(host).echo(transport, address).expect("an echo"));
            }
        }
    }
    let hosts = [
        ("cli-wan", "203.0.113.50", "wan"),
        ("cli-lan", "192.168.10.21", "lan"),
        ("srv-voip", "192.168.10.13", "lan"),
        ("srv-ebrigade", "192.168.20.11", "dmz"),
    ];
    let targets = [wan.as_str(), "192.168.10.13", "192.168.20.11", "198.51.100.1"];
    let services = [
        (Transport::Tcp, 80),
        (Transport::Tcp, 25),
        (Transport::Udp, 161),
        (Transport::Udp, 5060),
        (Transport::Tcp, 10_000),
    ];
    assert!(wait_until(SOON, || stage.page("cli-wan", &format!("http://{wan}/")).is_some()));
    let (mut asked, mut wrong) = (0, Vec::new());
    for (host, source, zone) in hosts {
        for target in targets.iter().filter(|t| **t != source) {
            for (transport, port) in services {
                let service = format!("{transport}/{port}");
                let explained = stage.explain(Some(zone), source, target, &service);
                // What does not pass the firewall is none of its business.
                if explained.stages.iter().all(|s| s.stage != "policy") && explained.verdict == "allow" {
                    continue;
                }
                if same_segment(source, target) {
                    continue;
                }
                asked += 1;
                let probe = stage.host(host).probe(transport, format!("{target}:{port}").parse().unwrap());
                let reach = probe.timeout(std::time::Duration::from_millis(400)).run().expect("a probe");
                let agrees = match explained.verdict.as_str() {
                    // Nobody listens on port 80 of some, nor on the firewall: their own refusal shows that it was let through.
                    "allow" => {
                        let deaf = port == 80 || *target == wan;
                        reach.passes()
                            || matches!(&reach, Reach::Rejected { reason } if deaf && reason == "ConnectionRefused")
                    }
                    "reject" => matches!(reach, Reach::Rejected { .. }),
                    _ => reach == Reach::Silent,
                };
                if !agrees {
                    wrong.push(format!(
                        "{host} → {target} {service}: {} ({}), but {reach:?}",
                        explained.verdict, explained.summary
                    ));
                }
            }
        }
    }
    assert!(asked >= 40, "{asked}");
    assert!(wrong.is_empty(), "{} of {asked}: {wrong:#?}", wrong.len());
}

fn same_segment(a: &str, b: &str) -> bool {
    let internet = |x: &str| x.starts_with("203.0.113.50") || x.starts_with("198.51.100.");
    a.rsplit_once('.').map(|x| x.0) == b.rsplit_once('.').map(|x| x.0) && !a.starts_with("203.")
        || internet(a) && internet(b)
}

/// In: every verb that asks. Out: an answer for a person, and JSON that a program can read.
#[test]
fn every_verb_answers_in_both_forms() {
    skip_unless_root!();
    let stage = Stage::up(&small().flow("web", "lan", "dmz:server", "allow = [\"http\"]"));
    stage.page("cli-lan", "http://192.168.20.11/");
    let file = stage.file("again.toml", small().text());
    let file = file.to_str().expect("a path");
    let explain = ["explain", "--src", "192.168.10.21", "--dst", "192.168.20.11", "tcp/80"];
    let verbs: [&[&str]; 14] = [
        &["status"],
        &["flows"],
        &["matrix"],
        &["connections"],
        &["log"],
        &["check", file],
        &["plan", file],
        &explain,
        &["candidate"],
        &["diff", "running", "1"],
        &["history"],
        &["show", "1"],
        &["schema"],
        &["services"],
    ];
    for words in verbs {
        stage.node.must(words).unwrap_or_else(|e| panic!("{words:?}: {e:#}"));
        let text =
            stage.node.must(&[words, &["--json"]].concat()).unwrap_or_else(|e| panic!("{words:?}: {e:#}"));
        let json: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(json.is_ok(), "{words:?}: {text}");
    }
    let explained = stage.explain(None, "192.168.10.21", "192.168.20.11", "tcp/80");
    assert_eq!((explained.verdict.as_str(), explained.decided_by.as_str()), ("allow", "web"));
    let near = stage.explain(None, "192.168.10.21", "192.168.20.11", "tcp/81");
    assert_eq!(near.verdict, "reject");
    assert!(near.near_misses.iter().any(|n| n.label == "web"), "{near:?}");
}
