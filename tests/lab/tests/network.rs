//! The standard network around a plain Linux router: everything that later tests rely on is there.

mod common;

use std::time::Duration;

use common::plain_lab;
use nix::sys::signal::Signal;
use rempart_lab::demo::Demo;
use rempart_lab::traffic::Reach;
use rempart_lab::{Transport, skip_unless_root, wait_until};

const SHORT: Duration = Duration::from_secs(3);

/// In: the standing network. Out: web, FTP, DNS and echoes in both families, from every side.
#[test]
fn the_hosts_reach_one_another() {
    skip_unless_root!();
    let lab = plain_lab();
    let (inside, outside) = (lab.host("cli-lan"), lab.host("cli-wan"));

    for url in ["http://192.168.20.11/", "https://192.168.20.11/", "http://[fd00:20::11]/"] {
        let page = inside.http_get(url, SHORT).unwrap();
        assert_eq!((page.status, page.body.as_str()), (200, "srv-ebrigade\n"), "{url}");
    }
    for url in ["http://198.51.100.1/", "http://[2001:db8:198::1]/"] {
        assert_eq!(inside.http_get(url, SHORT).unwrap().body, "inet\n", "{url}");
    }
    let client = outside.http_get("http://192.168.20.11/client", SHORT).unwrap().body;
    assert!(client.starts_with("203.0.113.50 "), "{client}");

    // The name is looked up at srv-ad1, which asks the provider through the router.
    assert_eq!(inside.http_get("http://www.example/", SHORT).unwrap().body, "inet\n");
    let page = inside.http_get("http://srv-ebrigade.datatel.example/", SHORT).unwrap();
    assert_eq!(page.body, "srv-ebrigade\n");
    let unknown = inside.http_get("http://nowhere.datatel.example/", SHORT).unwrap_err();
    assert!(format!("{unknown:#}").contains("Could not resolve"), "{unknown:#}");

    for transport in [Transport::Tcp, Transport::Udp] {
        let _echo = lab.host("srv-voip").echo(transport, "[::]:5060".parse().unwrap()).unwrap();
        for (from, seen) in [(None, "203.0.113.50"), (Some("198.51.100.7"), "198.51.100.7")] {
            let mut probe = outside.probe(transport, "192.168.10.13:5060".parse().unwrap());
            if let Some(from) = from {
                probe = probe.from(from.parse().unwrap());
            }
            let reach = probe.run().unwrap();
            assert_eq!(reach.seen().unwrap().ip().to_string(), seen, "{reach:?}");
        }
        let reach = outside.probe(transport, "[fd00:10::13]:5060".parse().unwrap()).run().unwrap();
        assert_eq!(reach.seen().unwrap().ip().to_string(), "2001:db8:113::50", "{reach:?}");
    }
}

/// In: a file on srv-ebrigade. Out: it comes by passive FTP, over a port of the range.
#[test]
fn passive_ftp_fetches_a_file() {
    skip_unless_root!();
    let lab = plain_lab();
    let url = "ftp://192.168.20.11/hello.txt";
    let curl = ["curl", "-q", "-sSv", "--noproxy", "*", "--disable-epsv", "--max-time", "10", url];
    let output = lab.host("cli-lan").run(&curl).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "srv-ebrigade\n", "{log}");
    let reply = log.lines().find(|l| l.contains("227 Entering Passive Mode")).expect("a PASV reply");
    let numbers: Vec<u16> = reply[reply.find('(').unwrap() + 1..]
        .split(|c: char| !c.is_ascii_digit())
        .flat_map(str::parse)
        .collect();
    let port = numbers[4] * 256 + numbers[5];
    assert!((30_000..=30_100).contains(&port), "{reply}");
}

/// In: a session by SSH. Out: it is root's on the desk.
#[test]
fn ssh_reaches_the_desk() {
    skip_unless_root!();
    let lab = plain_lab();
    let mut ssh = lab.host("srv-voip").command("env");
    ssh.args(lab.ssh_words()).arg("echo $SSH_CONNECTION");
    let output = rempart_lab::output_within(ssh, Duration::from_secs(20)).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.starts_with("192.168.10.13 ") && said.trim_end().ends_with("192.168.20.11 22"),
        "{output:?}"
    );
}

/// In: the two streams that a person watches, started twice, with a router that stands still for a second in between. Out: they go
/// on, the longest pause of each is that second, and nothing is left of them once they are ended.
#[test]
fn what_a_person_watches() {
    skip_unless_root!();
    let lab = plain_lab();
    for demo in Demo::ALL.into_iter().chain(Demo::ALL) {
        lab.start_demo(demo).unwrap();
    }
    lab.freeze("rte01").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    lab.thaw("rte01").unwrap();
    let went_on = || Demo::ALL.iter().all(|d| lab.demo(*d).is_some_and(|f| f.longest_pause_ms > 800));
    assert!(wait_until(SHORT, went_on), "{:?}", Demo::ALL.map(|d| lab.demo(d)));
    let before = Demo::ALL.map(|d| lab.demo(d).unwrap().bytes);
    let more = || Demo::ALL.iter().zip(before).all(|(d, bytes)| lab.demo(*d).unwrap().bytes > bytes);
    assert!(wait_until(SHORT, more), "{:?}", Demo::ALL.map(|d| lab.demo(d)));
    for demo in Demo::ALL {
        assert_eq!(lab.demo(demo).unwrap().ended, None);
        lab.stop_demo(demo).unwrap();
        assert_eq!(lab.demo(demo), None);
    }
    for (host, program) in [("cli-lan", "curl"), ("srv-voip", "ssh"), ("cli-lan", "lab"), ("srv-voip", "lab")]
    {
        let gone = || lab.signal(host, program, None, Signal::SIGCONT).is_err();
        assert!(wait_until(SHORT, gone), "{program} on {host}");
    }
}

/// In: a DISCOVER from the router's bare leg. Out: an offer of the provider's range; none on the LAN.
#[test]
fn the_provider_offers_addresses() {
    skip_unless_root!();
    let lab = rempart_lab::Lab::builder().topology(rempart_lab::Topology::standard()).up().unwrap();
    let router = lab.host("rte01");
    router.ip("link set enp1s0 up\nlink set enp2s0 up\n").unwrap();
    let offer = router.dhcp_discover("enp1s0", Duration::from_secs(10)).unwrap().expect("an offer");
    let [a, b, c, last] = offer.address.octets();
    assert_eq!([a, b, c], [203, 0, 113]);
    assert!((100..=150).contains(&last), "{offer:?}");
    assert_eq!(offer.mask.unwrap().to_string(), "255.255.255.0");
    assert_eq!(offer.router.unwrap().to_string(), "203.0.113.1");
    assert_eq!(offer.nameserver, offer.router);
    assert_eq!(offer.lease_secs, Some(600));
    assert_eq!(router.dhcp_discover("enp2s0", Duration::from_secs(1)).unwrap(), None);
}

/// In: rules that let through, refuse and discard. Out: the probe tells one from the other.
#[test]
fn probes_tell_refusal_from_silence() {
    skip_unless_root!();
    let lab = plain_lab();
    let (client, server) = (lab.host("cli-lan"), lab.host("srv-ebrigade"));
    let rules = "table inet t { chain forward { type filter hook forward priority 0; \
                 meta l4proto { tcp, udp } th dport 7002 drop; \
                 meta l4proto tcp th dport 7003 reject with tcp reset; \
                 meta l4proto udp th dport 7003 reject with icmpx admin-prohibited; }\n}";
    lab.host("rte01").nft(rules).unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let ports = ["[::]:7001", "[::]:7002", "[::]:7003"];
        let _echoes = ports.map(|p| server.echo(transport, p.parse().unwrap()).unwrap());
        let probe = |port: u16| client.probe(transport, ([192, 168, 20, 11], port).into()).run().unwrap();
        assert!(matches!(probe(7001), Reach::Answered { .. }), "{transport}");
        assert_eq!(probe(7002), Reach::Silent, "{transport}");
        assert!(matches!(probe(7003), Reach::Rejected { .. }), "{transport}: {:?}", probe(7003));
        // Nobody listens there.
        assert_eq!(probe(7004), Reach::Rejected { reason: "ConnectionRefused".into() }, "{transport}");
    }
    let web = client.probe(Transport::Tcp, "192.168.20.11:80".parse().unwrap()).run().unwrap();
    assert!(web.passes() && web.seen().is_none(), "{web:?}");
}

/// In: 2,000 packets through rules that drop 37 by their number. Out: exactly those are missing.
#[test]
fn a_flood_counts_every_packet() {
    skip_unless_root!();
    let lab = plain_lab();
    // The number is the eight bytes at 4 of the payload: its low 32 bits are 8 + 8 bytes into the UDP header.
    let rules = "table inet t { chain forward { type filter hook forward priority 0; \
                 udp dport 9000 @th,128,32 { 0-9, 500, 1000-1023, 1998-1999 } counter drop; }\n}";
    lab.host("rte01").nft(rules).unwrap();
    let (client, server) = (lab.host("cli-lan"), lab.host("srv-ebrigade"));
    let to = "192.168.20.11:9000".parse().unwrap();
    let flood = client.flood(server, to, 4000).count(2000).start().unwrap();
    let report = flood.finish(Duration::from_secs(20)).unwrap();
    assert_eq!((report.sent, report.refused, report.overrun), (2000, 0, 0), "{report:?}");
    assert_eq!((report.received, report.lost), (1963, 37), "{report:?}");
    assert_eq!((report.duplicates, report.reordered), (0, 0), "{report:?}");
    let gaps: Vec<_> = report.gaps.iter().map(|g| (g.first, g.length)).collect();
    assert_eq!(gaps, [(0, 10), (500, 1), (1000, 24), (1998, 2)]);
    assert_eq!(report.longest_gap(), 24);
    assert_eq!(report.sources.first().unwrap().ip().to_string(), "192.168.10.21");

    // Until told to stop, with the server's cable out for a while: one gap, as long as the pause.
    let flood = client.flood(server, "192.168.20.11:9001".parse().unwrap(), 1000).start().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    lab.unplug("srv-ebrigade", "eth0").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    lab.plug("srv-ebrigade", "eth0").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let report = flood.stop().unwrap();
    assert!(report.sent > 1500 && report.lost + report.received == report.sent, "{report:?}");
    assert!(report.longest_gap() >= 250 && report.longest_pause_us >= 250_000, "{report:?}");
}

/// In: a held connection, forwarding switched off for 400 ms. Out: it survives, and the pause is told.
#[test]
fn a_held_connection_tells_its_pause() {
    skip_unless_root!();
    let lab = plain_lab();
    let _echo = lab.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).unwrap();
    let client = lab.host("cli-lan");
    let mut held = client.hold("192.168.20.11:7000".parse().unwrap(), Duration::from_millis(10)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    lab.unplug("rte01", "enp2s0").unwrap();
    std::thread::sleep(Duration::from_millis(400));
    lab.plug("rte01", "enp2s0").unwrap();
    // An unplugged leg loses nothing in IPv4; in the end TCP sends again.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(held.is_up());
    let report = held.stop().unwrap();
    assert_eq!(report.broken, None);
    assert!(report.echoed == report.sent && report.sent > 50, "{report:?}");
    assert!(report.longest_pause_ms >= 350, "{report:?}");
}

/// In: a reset in the middle of a held connection. Out: the report says that it broke.
#[test]
fn a_held_connection_tells_its_end() {
    skip_unless_root!();
    let lab = plain_lab();
    let echo = lab.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).unwrap();
    let client = lab.host("cli-lan");
    let mut held = client.hold("192.168.20.11:7000".parse().unwrap(), Duration::from_millis(10)).unwrap();
    drop(echo);
    assert!(wait_until(SHORT, || !held.is_up()));
    assert!(held.stop().unwrap().broken.is_some());
}
