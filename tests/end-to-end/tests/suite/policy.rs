//! What flows let through and what they refuse, and what is told of it.

use std::time::{Duration, Instant};

use rempart_end_to_end::{SOON, Stage, VIRTUAL_WAN, datatel, small};
use rempart_lab::traffic::Reach;
use rempart_lab::{Transport, skip_unless_root, wait_until};

/// In: the example, seen from the internet and from inside. Out: the published site answers on the virtual address on both sides, the
/// private address and everything else is silent outside, and refused at once inside.
#[test]
fn the_example_lets_through_what_it_says() {
    skip_unless_root!();
    let stage = Stage::up(&datatel());
    let wan = VIRTUAL_WAN;
    let site = Some("srv-ebrigade".to_owned());
    assert!(wait_until(SOON, || stage.page("cli-wan", &format!("http://{wan}/")) == site), "published");
    assert_eq!(stage.page("cli-wan", &format!("https://{wan}/")), site);
    assert_eq!(stage.page("cli-lan", &format!("http://{wan}/")), site, "reflection");
    assert_eq!(stage.page("cli-lan", "http://192.168.20.11/"), site, "directly");
    assert_eq!(stage.page("cli-lan", "http://[fd00:20::11]/"), site, "by IPv6");
    assert_eq!(stage.page("cli-lan", "http://198.51.100.1/"), Some("inet".into()), "the internet");
    let client = stage.page("cli-wan", &format!("http://{wan}/client")).expect("a page");
    assert!(client.starts_with("203.0.113.50 "), "the server sees who asks: {client}");

    stage.host("cli-wan").ip("route add 192.168.20.0/24 via 203.0.113.100\n").expect("a route");
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    assert_eq!(stage.tcp("cli-wan", "192.168.20.11:80"), Reach::Silent, "the private address");
    assert_eq!(stage.tcp("cli-wan", &format!("{wan}:22")), Reach::Silent);
    assert_eq!(stage.tcp("cli-wan", &format!("{wan}:7000")), Reach::Silent);
    for to in ["192.168.20.11:7000", "[fd00:20::11]:7000", "192.168.10.1:443"] {
        let began = Instant::now();
        assert!(matches!(stage.tcp("cli-lan", to), Reach::Rejected { .. }), "{to}");
        assert!(began.elapsed() < Duration::from_millis(700), "{to}: refused after {:?}", began.elapsed());
    }
    assert!(matches!(stage.udp("cli-lan", "192.168.20.11:7000"), Reach::Rejected { .. }), "by ICMP");
    assert!(stage.faults().is_empty(), "{:?}", stage.faults());
}

/// In: FTP with the helper, inside and published, and the same documents without it. Out: a passive transfer goes through with it
/// and only with it; the published server's private address is rewritten.
#[test]
fn a_helper_opens_the_data_connection() {
    skip_unless_root!();
    let inside = small().flow("ftp", "lan", "dmz:server", "allow = [\"ftp\"]\nhelper = \"ftp\"");
    let outside = "allow = [\"ftp\"]\nhelper = \"ftp\"\npublish = true";
    let document = inside
        .replace("server = [\"192.168.20.11\", \"fd00:20::11\"]", "server = \"192.168.20.11\"")
        .flow("ftp-out", "wan", "dmz:server", outside);
    let stage = Stage::up(&document);
    let wan = stage.wan().to_string();
    let fetch = |host: &str, address: &str| {
        let url = format!("ftp://{address}/hello.txt");
        let curl = ["curl", "-q", "-sS", "--noproxy", "*", "--disable-epsv", "--max-time", "4", &url];
        String::from_utf8_lossy(&stage.host(host).run(&curl).expect("curl runs").stdout).trim().to_owned()
    };
    assert_eq!(fetch("cli-lan", "192.168.20.11"), "srv-ebrigade");
    assert!(wait_until(SOON, || fetch("cli-wan", &wan) == "srv-ebrigade"), "published");

    stage.commit(&document.replace("helper = \"ftp\"", "").replace("helper = \"ftp\"", ""));
    assert_eq!(fetch("cli-lan", "192.168.20.11"), "", "without its helper");
    assert_eq!(fetch("cli-wan", &wan), "", "without its helper, from outside");
}

/// In: flows by IPv6, allowed, denied, rejected and dropped. Out: each as it says, in both transports.
#[test]
fn ipv6_is_filtered_alike() {
    skip_unless_root!();
    let document = small()
        .flow("drop", "lan", "dmz:fd00:20::11", "drop = [\"tcp/7002\", \"udp/7002\"]")
        .flow("yes", "lan:fd00:10::21", "dmz:server", "allow = [\"tcp/7001-7002\", \"udp/7001-7002\"]");
    let stage = Stage::up(&document);
    let server = stage.host("srv-ebrigade");
    for transport in [Transport::Tcp, Transport::Udp] {
        let echo =
            |port: u16| server.echo(transport, format!("[::]:{port}").parse().unwrap()).expect("an echo");
        let _echoes = [echo(7001), echo(7002), echo(7003)];
        let probe = |to: &str| {
            let to = to.parse().unwrap();
            stage.host("cli-lan").probe(transport, to).run().expect("a probe")
        };
        // A new address is not used before nobody else has claimed it (RFC 4862 §5.4): a second or two.
        assert!(wait_until(SOON, || probe("[fd00:20::11]:7001").passes()), "{transport}");
        assert_eq!(probe("[fd00:20::11]:7002"), Reach::Silent, "{transport}");
        assert!(matches!(probe("[fd00:20::11]:7003"), Reach::Rejected { .. }), "{transport}");
        assert!(
            matches!(probe("192.168.20.11:7001"), Reach::Rejected { .. }),
            "{transport}: IPv4 was not named"
        );
    }
}

/// In: a flow of three new connections a minute, and one of two connections at once. Out: the fourth and the third are
/// refused, and the log says why.
#[test]
fn rates_and_numbers_of_connections_are_limited() {
    skip_unless_root!();
    let document = small()
        .flow("slow", "lan", "dmz:server", "allow = [\"tcp/7001\"]\nrate = \"1/minute burst 3\"")
        .flow(
            "few",
            "lan",
            "dmz:server",
            "allow = [\"tcp/7002\"]\nconnections = { max = 2, per = \"source\" }",
        );
    let stage = Stage::up(&document);
    let server = stage.host("srv-ebrigade");
    let _slow = server.echo(Transport::Tcp, "[::]:7001".parse().unwrap()).expect("an echo");
    let _few = server.echo(Transport::Tcp, "[::]:7002".parse().unwrap()).expect("an echo");

    let passed: Vec<bool> = (0..5).map(|_| stage.tcp("cli-lan", "192.168.20.11:7001").passes()).collect();
    assert_eq!(passed, [true, true, true, false, false]);
    let entry = stage.logged("the limit", |e| e.destination_port == 7001);
    assert_eq!((entry.reason.as_str(), entry.action.as_str()), ("slow", "limit"));

    let hold =
        || stage.host("cli-lan").hold("192.168.20.11:7002".parse().unwrap(), Duration::from_millis(50));
    let (first, _second) = (hold().expect("the first"), hold().expect("the second"));
    assert!(hold().is_err(), "the third");
    assert!(matches!(stage.tcp("srv-voip", "192.168.20.11:7002"), Reach::Answered { .. }), "another source");
    first.stop().expect("a report");
    // Its end stays in the table for a while (TIME_WAIT), and counts until then.
    assert_eq!(stage.connections_to(7002).iter().filter(|c| c.state == "ESTABLISHED").count(), 1);
}

/// In: a logged flow, a refused packet and noise. Out: the first two are in the log with what decided, the noise is not.
#[test]
fn the_log_names_what_decided() {
    skip_unless_root!();
    let document = small().flow("watched", "lan", "dmz:server", "allow = [\"http\"]\nlog = true").flow(
        "never",
        "lan",
        "dmz:server",
        "reject = [\"tcp/7009\"]\nlog = true",
    );
    let stage = Stage::up(&document);
    // Noise first: by the time that the others are logged, it would be too.
    let _ = stage.udp("cli-lan", "192.168.20.11:137");
    let _ = stage.udp("cli-lan", "192.168.10.254:1900");
    assert!(stage.page("cli-lan", "http://192.168.20.11/").is_some());
    let _ = stage.tcp("cli-lan", "192.168.20.11:7009");
    let _ = stage.tcp("cli-lan", "192.168.20.11:7010");

    let entry = stage.logged("the web", |e| e.destination_port == 80);
    let id = stage.flow("watched").id;
    assert_eq!((entry.reason.as_str(), entry.action.as_str(), entry.flow), ("watched", "allow", id));
    assert_eq!((entry.from_zone.as_deref(), entry.to_zone.as_deref()), (Some("lan"), Some("dmz")));
    assert_eq!(entry.source.to_string(), "192.168.10.21");
    let entry = stage.logged("what a flow rejects", |e| e.destination_port == 7009);
    assert_eq!((entry.reason.as_str(), entry.action.as_str()), ("never", "reject"));
    let entry = stage.logged("what no flow allows", |e| e.destination_port == 7010);
    assert_eq!((entry.reason.as_str(), entry.action.as_str(), entry.flow), ("default", "deny", 0));
    let noise: Vec<_> =
        stage.log().into_iter().filter(|e| [137, 1900].contains(&e.destination_port)).collect();
    assert!(noise.is_empty(), "{noise:?}");
}

/// In: hits on a flow, then an edit of the document, a restart and a kill of the daemon. Out: the flow keeps its number and its
/// hits, and counts on.
#[test]
fn hits_survive_reload_and_restart() {
    skip_unless_root!();
    let document = small().flow("web", "lan", "dmz:server", "allow = [\"http\"]");
    let mut stage = Stage::up(&document);
    let ask = |stage: &Stage| assert!(stage.page("cli-lan", "http://192.168.20.11/").is_some());
    (0..3).for_each(|_| ask(&stage));
    let before = stage.flow("web");
    assert_eq!(before.hits, 3);

    stage.commit(&document.replace("[host]", "[host]\nother = \"192.168.20.77\"").flow(
        "more",
        "dmz",
        "lan",
        "allow = [\"dns\"]",
    ));
    assert_eq!((stage.flow("web").id, stage.flow("web").hits), (before.id, 3));
    ask(&stage);
    stage.stop();
    stage.start();
    assert_eq!((stage.flow("web").id, stage.flow("web").hits), (before.id, 4));
    stage.node.daemon().expect("a daemon").kill();
    ask(&stage);
    stage.start();
    assert_eq!((stage.flow("web").id, stage.flow("web").hits), (before.id, 5));
}
