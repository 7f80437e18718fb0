//! The policies that are measured: the same lines as a document and as a plain linear chain.
//!
//! Two zones with clients, two with servers, so four zone pairs. In each network of servers one client is shut
//! out first; then seven lines of ten let the whole zone reach one port of one host, two let a part of the zone
//! reach a range of ports, and one lets a single client reach a small network.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rempart_config::Model;
use rempart_config::model::{Name, UDP};
use rempart_config::space::AddressSet;
use rempart_kernel_tests::node::Failure;
use rempart_kernel_tests::policy::Policy;
use rempart_plan::eval::{Arrival, Packet};
use rempart_plan::{Facts, Ids};

/// The table of the linear chain.
pub const LINEAR: &str = "linear";
/// The name of the block list.
const BLOCKLIST: &str = "scanners";

/// Client zones with their device and the third byte of their network; the same for server zones with the second.
const CLIENTS: [(&str, &str, u8); 2] = [("lan", "int0", 10), ("guest", "int1", 30)];
const SERVERS: [(&str, &str, u8); 2] = [("dmz", "srv0", 40), ("mgmt", "srv1", 50)];

/// One line of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    clients: usize,
    servers: usize,
    source: Option<(Ipv4Addr, u8)>,
    destination: (Ipv4Addr, u8),
    ports: (u16, u16),
    allow: bool,
}

/// The first `count` lines.
pub fn lines(count: usize) -> Vec<Line> {
    (0..count).map(line).collect()
}

fn line(index: usize) -> Line {
    let (pair, nth) = (index % 4, index / 4);
    let (clients, servers) = (pair % 2, pair / 2);
    let client = |last| Ipv4Addr::new(192, 168, CLIENTS[clients].2, last);
    let (net, host) = ((nth / 200) as u8, (nth % 200) as u8);
    let server = |last| Ipv4Addr::new(10, SERVERS[servers].2, net, last);
    let base = Line {
        clients,
        servers,
        source: None,
        destination: (server(host + 1), 32),
        ports: (1000 + (nth % 7000) as u16, 1000 + (nth % 7000) as u16),
        allow: true,
    };
    if host == 0 {
        let shut_out = Some((client(250), 32));
        return Line {
            source: shut_out,
            destination: (server(0), 24),
            ports: (0, u16::MAX),
            allow: false,
            ..base
        };
    }
    match nth % 10 {
        0..=6 => base,
        7 | 8 => {
            let part = Some((client(64), 26));
            Line { source: part, ports: (base.ports.0 + 20_000, base.ports.0 + 20_020), ..base }
        }
        _ => {
            let one = Some((client(20 + host % 100), 32));
            let port = 40_000 + (nth % 20_000) as u16;
            Line { source: one, destination: (server(host & 0xf8), 29), ports: (port, port), ..base }
        }
    }
}

fn net((address, length): (Ipv4Addr, u8)) -> String {
    if length == 32 { address.to_string() } else { format!("{address}/{length}") }
}

fn ports((lo, hi): (u16, u16)) -> String {
    if lo == hi { lo.to_string() } else { format!("{lo}-{hi}") }
}

/// The lines as a document.
pub fn document(lines: &[Line], with_blocklist: bool) -> String {
    let mut out = String::from("version = 1\nnode = \"fw\"\n");
    for (zone, device, third) in CLIENTS {
        let _ = write!(
            out,
            "[interface.{zone}]\ndevice = \"{device}\"\nzone = \"{zone}\"\naddress = \"192.168.{third}.1/24\"\n\
             [zone.{zone}]\nanti_spoof = false\n"
        );
    }
    for (zone, device, second) in SERVERS {
        let _ = write!(
            out,
            "[interface.{zone}]\ndevice = \"{device}\"\nzone = \"{zone}\"\naddress = \"10.{second}.255.1/16\"\n\
             [zone.{zone}]\nanti_spoof = false\n"
        );
    }
    if with_blocklist {
        let _ = write!(
            out,
            "[blocklist.{BLOCKLIST}]\nfile = \"/var/lib/lists/{BLOCKLIST}\"\nzones = [\"lan\"]\n"
        );
    }
    for (n, line) in lines.iter().enumerate() {
        let from = CLIENTS[line.clients].0;
        let from = line.source.map_or_else(|| from.to_owned(), |s| format!("{from}:{}", net(s)));
        let (to, action) = (SERVERS[line.servers].0, if line.allow { "allow" } else { "drop" });
        let service = if line.allow { format!("udp/{}", ports(line.ports)) } else { "udp".into() };
        let _ = write!(
            out,
            "[[flow]]\nid = \"f{n}\"\nfrom = \"{from}\"\nto = \"{to}:{}\"\n{action} = [\"{service}\"]\n",
            net(line.destination)
        );
    }
    out
}

/// The same lines as one chain, the way they are written by hand: connections that are established first, then a
/// rule for each line, with its counter.
pub fn linear(lines: &[Line]) -> String {
    let mut out = format!(
        "table inet {LINEAR} {{\n chain forward {{\n  type filter hook forward priority 0; policy drop;\n  \
         ct state established,related accept\n  ct state invalid drop\n"
    );
    for line in lines {
        let _ = writeln!(out, "  {}", linear_rule(line));
    }
    out.push_str(" }\n}\n");
    out
}

/// One line as a rule of the linear chain.
pub fn linear_rule(line: &Line) -> String {
    let source = line.source.map_or_else(String::new, |s| format!("ip saddr {} ", net(s)));
    let port =
        if line.allow { format!("udp dport {}", ports(line.ports)) } else { "meta l4proto udp".into() };
    format!(
        "iifname \"{}\" oifname \"{}\" {source}ip daddr {} {port} counter {}",
        CLIENTS[line.clients].1,
        SERVERS[line.servers].1,
        net(line.destination),
        if line.allow { "accept" } else { "drop" }
    )
}

/// A new connection that a line lets through, by the device of its zone; `None` for a line that refuses.
/// Connections with different `number`s differ.
pub fn connection(line: &Line, number: usize) -> Option<(&'static str, &'static str, Packet)> {
    if !line.allow {
        return None;
    }
    let third = CLIENTS[line.clients].2;
    let (a, b) = ((number % 50) as u8, 1024 + (number % 60_000) as u16);
    let source = match line.source {
        None => Ipv4Addr::new(192, 168, third, 2 + a),
        Some((_, 26)) => Ipv4Addr::new(192, 168, third, 65 + a),
        Some((one, _)) => one,
    };
    let packet = Packet {
        arrival: Arrival::Local,
        source: IpAddr::V4(source),
        destination: IpAddr::V4(line.destination.0),
        protocol: UDP,
        source_port: b,
        port: line.ports.0,
    };
    Some((CLIENTS[line.clients].1, SERVERS[line.servers].1, packet))
}

/// Reads and plans a document.
pub fn plan(text: String, facts: Facts, ids: Ids) -> Result<Policy, Failure> {
    let model = read(&text)?;
    Ok(Policy::new(text, model, facts, ids)?)
}

fn read(text: &str) -> Result<Model, Failure> {
    let reading = rempart_config::read(text);
    reading.model.ok_or_else(|| rempart_config::render(&reading.diagnostics, "policy", text, false).into())
}

/// Facts with `count` prefixes on the block list, of the lengths that public lists have.
pub fn blocked(count: usize) -> Facts {
    let mut facts = Facts::default();
    let set = AddressSet { v4: prefixes(count).collect(), ..AddressSet::default() };
    facts.blocklists.insert(Name::new(BLOCKLIST), Arc::new(set));
    facts
}

/// The same prefixes as a plain set.
pub fn linear_set(count: usize) -> String {
    let mut out = format!(
        "table inet {LINEAR} {{\n set blocked {{ type ipv4_addr; flags interval; }}\n chain forward {{\n  \
         type filter hook forward priority 0; policy accept;\n  ip saddr @blocked drop\n }}\n}}\n\
         add element inet {LINEAR} blocked {{\n"
    );
    for prefix in prefixes(count) {
        let _ = writeln!(out, " {}-{},", Ipv4Addr::from(prefix.lo), Ipv4Addr::from(prefix.hi));
    }
    out.push_str("}\n");
    out
}

/// Prefixes of /24 to /32 that do not touch.
fn prefixes(count: usize) -> impl Iterator<Item = rempart_config::space::Interval<u32>> {
    let first = u32::from(Ipv4Addr::new(20, 0, 0, 0));
    (0..count as u32).map(move |n| {
        let lo = first + n * 1024;
        rempart_config::space::Interval { lo, hi: lo + (1u32 << (n % 9)) - 1 }
    })
}
