//! Random documents: text, made of pieces of which the reader may refuse some.
//!
//! Flows overlap on purpose, so that some are wholly covered by earlier ones; the reader calls those errors. The
//! piece that a fault points at is dropped and the rest is read again.

use rempart_config::{Model, Severity};

use crate::random::Random;

/// How often pieces are dropped before a document is given up.
const MAX_ATTEMPTS: usize = 30;

/// A document in pieces.
#[derive(Clone, Debug)]
pub struct Draft {
    pieces: Vec<Piece>,
    /// Numbers the flows that are made.
    flows: u32,
}

#[derive(Clone, Debug)]
struct Piece {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// What every document needs.
    Frame,
    /// May be dropped.
    Optional,
    /// A flow: may be dropped, and changed.
    Flow,
}

const WAN: &[&str] = &[
    "198.51.100.7",
    "192.0.2.0/24",
    "192.0.2.128-192.0.2.200",
    "203.0.113.77",
    "203.0.113.64/26",
    "8.8.8.8",
    "2001:db8:99::/48",
    "2001:db8:99::5",
    "2001:db8:113::77",
];
const LAN: &[&str] = &[
    "192.168.10.10",
    "192.168.10.11",
    "192.168.10.16/28",
    "192.168.10.100-192.168.10.120",
    "192.168.11.5",
    "10.20.0.0/16",
    "10.20.5.5",
    "fd00:10::10",
    "fd00:10::100-fd00:10::1ff",
    "fd00:10::/112",
    "fd00:2000::/56",
];
const DMZ: &[&str] = &[
    "192.168.20.11",
    "192.168.20.12",
    "192.168.20.8/29",
    "192.168.20.16/28",
    "10.30.0.7",
    "fd00:20::11",
    "fd00:20::/120",
];
const GUEST: &[&str] = &["172.16.30.5", "172.16.30.0/25", "172.16.30.77-172.16.30.99"];
const VPN: &[&str] =
    &["agents", "guests", "10.77.1.5", "10.77.1.0/26", "10.77.2.3", "fd00:77:1::5", "fd00:77:1::/120"];
const FIREWALL: &[&str] = &[
    "192.168.10.1",
    "203.0.113.2",
    "192.168.20.1",
    "fd00:10::1",
    "2001:db8:113::2",
    "10.77.1.1",
    "fd00:77:1::1",
];
const SERVICES: &[&str] = &[
    "tcp/80",
    "tcp/443",
    "tcp/8000-8100",
    "tcp/8050-8200",
    "udp/53",
    "udp/5000-5100",
    "udp/5050",
    "tcp",
    "udp",
    "icmp",
    "icmp/echo-request",
    "icmp/13",
    "icmp6",
    "icmp6/128",
    "proto/47",
    "proto/50",
    "udplite/99",
    "any",
    "ping",
    "dns",
    "web",
    "mixed",
];
const PORTS: &[&str] =
    &["tcp/80", "tcp/443", "tcp/8000-8010", "udp/53", "udp/5000-5005", "tcp/22", "tcp/8005-8020"];
const TARGETS: &[&str] = &[
    "dmz:192.168.20.11",
    "dmz:192.168.20.12",
    "dmz:server",
    "lan:192.168.10.10",
    "lan:10.20.5.5",
    "dmz:10.30.0.7",
];

/// A random document.
pub fn random(r: &mut Random) -> Draft {
    let mut d = Draft { pieces: Vec::new(), flows: 0 };
    d.frame(interfaces(r));
    d.frame(zones(r));
    d.frame(names());
    for text in routes(r) {
        d.push(Kind::Optional, text);
    }
    d.frame(nat(r));
    for text in translations(r) {
        d.push(Kind::Optional, text);
    }
    if r.chance(60) {
        d.frame(groups(r));
        d.push(Kind::Optional, remote_access(r));
    }
    d.frame(blocklists(r));
    if r.chance(30) {
        d.frame(wireguard(r));
    }
    for _ in 0..1 + r.below(40) {
        let flow = d.flow(r);
        d.push(Kind::Flow, flow);
    }
    d
}

impl Draft {
    fn push(&mut self, kind: Kind, text: String) {
        self.pieces.push(Piece { text: format!("{text}\n"), kind });
    }

    fn frame(&mut self, text: String) {
        self.push(Kind::Frame, text);
    }

    /// The text.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|p| p.text.as_str()).collect()
    }

    /// Drops what the reader refuses until it takes the rest. `None` when that cannot be had.
    pub fn settle(&mut self) -> Option<Model> {
        for _ in 0..MAX_ATTEMPTS {
            let reading = rempart_config::read(&self.text());
            if let Some(model) = reading.model {
                return Some(model);
            }
            let errors = reading.diagnostics.iter().filter(|d| d.severity == Severity::Error);
            let mut faulty: Vec<usize> = errors.filter_map(|d| self.piece_at(d.span.start)).collect();
            faulty.sort_unstable();
            faulty.dedup();
            faulty.retain(|at| self.pieces[*at].kind != Kind::Frame);
            if faulty.is_empty() {
                let text = self.text();
                eprintln!("{}", rempart_config::render(&reading.diagnostics, "random.toml", &text, false));
                return None;
            }
            for at in faulty.into_iter().rev() {
                self.pieces.remove(at);
            }
        }
        None
    }

    fn piece_at(&self, offset: usize) -> Option<usize> {
        let mut end = 0;
        self.pieces.iter().position(|p| {
            end += p.text.len();
            offset < end
        })
    }

    /// Changes one thing: adds, removes, moves or replaces a flow, or now and then something else.
    pub fn change(&mut self, r: &mut Random) {
        let flows: Vec<usize> =
            (0..self.pieces.len()).filter(|n| self.pieces[*n].kind == Kind::Flow).collect();
        let first = flows.first().copied().unwrap_or(self.pieces.len());
        let any = |r: &mut Random| if flows.is_empty() { None } else { Some(*r.pick(&flows)) };
        match (r.below(6), any(r)) {
            (0, Some(at)) => drop(self.pieces.remove(at)),
            (1, Some(at)) => {
                let moved = self.pieces.remove(at);
                let to = first + r.below(flows.len());
                self.pieces.insert(to, moved);
            }
            (2, Some(at)) => {
                let text = &mut self.pieces[at].text;
                let (old, new) =
                    *r.pick(&[("allow =", "drop ="), ("deny =", "allow ="), ("drop =", "reject =")]);
                *text = text.replace(old, new);
            }
            (3, Some(at)) => {
                let flow = self.flow(r);
                self.pieces[at].text = format!("{flow}\n");
            }
            _ => {
                let flow = self.flow(r);
                let to = first + r.below(flows.len() + 1);
                self.pieces.insert(to, Piece { text: format!("{flow}\n"), kind: Kind::Flow });
            }
        }
    }

    fn flow(&mut self, r: &mut Random) -> String {
        self.flows += 1;
        let mut out = String::from("[[flow]]\n");
        if r.chance(50) {
            out += &format!("id = \"f{}\"\n", self.flows);
        }
        if r.chance(25) {
            return out + &published(r);
        }
        let (from, to) = match r.below(10) {
            0 | 1 => (side(r, false), "\"firewall\"".to_owned()),
            2 => ("\"firewall\"".to_owned(), side(r, false)),
            3 => (side(r, false), list(r, 1, |r| host_in(r, "firewall", FIREWALL))),
            _ => (side(r, true), side(r, true)),
        };
        let action = *r.pick(&["allow", "allow", "allow", "deny", "reject", "drop"]);
        let services = list(r, 3, |r| (*r.pick(SERVICES)).to_owned());
        out += &format!("from = {from}\nto = {to}\n{action} = {services}\n");
        if r.chance(10) {
            out += "log = true\n";
        }
        out
    }
}

fn published(r: &mut Random) -> String {
    let from = match r.below(6) {
        0 => "\"wan:192.0.2.0/24\"",
        1 => "\"wan:198.51.100.7\"",
        2 => "[\"wan\", \"guest\"]",
        3 => "\"guest\"",
        _ => "\"wan\"",
    };
    let target = r.pick(TARGETS);
    let most = if r.chance(40) { 2 } else { 1 };
    let services = list(r, most, |r| (*r.pick(PORTS)).to_owned());
    let mut table = Vec::new();
    if r.chance(40) {
        table.push(format!("address = \"{}\"", r.pick(&["203.0.113.2", "203.0.113.5", "203.0.113.6"])));
    }
    if r.chance(40) {
        table.push(format!("port = {}", r.pick(&["2222", "8443", "80", "8003", "5002"])));
    }
    if r.chance(40) {
        table.push(format!(
            "reflect = {}",
            r.pick(&["false", "true", "[\"lan\"]", "[\"dmz\"]", "[\"guest\", \"dmz\"]"])
        ));
    }
    let publish = if table.is_empty() { "true".into() } else { format!("{{ {} }}", table.join(", ")) };
    format!("from = {from}\nto = \"{target}\"\nallow = {services}\npublish = {publish}\n")
}

/// A side of a flow: one or two endpoints.
fn side(r: &mut Random, with_any: bool) -> String {
    list(r, 2, |r| {
        if with_any && r.chance(12) {
            return (*r.pick(&["any", "any", "any:192.168.20.11", "any:!10.20.0.0/16"])).to_owned();
        }
        let (zone, hosts) = *r.pick(&[
            ("wan", WAN),
            ("lan", LAN),
            ("dmz", DMZ),
            ("guest", GUEST),
            ("lan", LAN),
            ("dmz", DMZ),
            ("vpn", VPN),
        ]);
        host_in(r, zone, hosts)
    })
}

/// WireGuard with two peers, on or off; flows that name them are seldom enough to be added here.
fn wireguard(r: &mut Random) -> String {
    let mut out = format!("[wireguard]\nenabled = {}\n", r.chance(85));
    out += "private_key = \"wg\"\naddress = [\"10.99.0.1/24\", \"fd99::1/64\"]\n";
    if r.chance(50) {
        out += &format!("zones = {}\n", r.pick(&["[\"wan\"]", "[\"lan\", \"wan\"]", "[\"guest\"]"]));
    }
    out += "[wireguard.peer.alice]\npublic_key = \"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\"\n\
            address = [\"10.99.0.10\", \"fd99::10\"]\n\
            [wireguard.peer.branch]\npublic_key = \"3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\"\n\
            address = [\"10.99.0.20\", \"10.98.0.0/16\", \"fd98::/48\"]\n";
    for _ in 0..r.below(4) {
        let (peer, other) = (
            *r.pick(&[
                "wireguard",
                "wireguard:alice",
                "wireguard:branch",
                "wireguard:!alice",
                "wireguard:10.98.3.0/24",
            ]),
            *r.pick(&["lan", "dmz:192.168.20.11", "firewall", "wan", "wireguard:branch"]),
        );
        let (from, to) =
            if r.chance(70) || other == "wireguard:branch" { (peer, other) } else { (other, peer) };
        let action = r.pick(&["allow", "allow", "deny", "drop"]);
        let service = r.pick(&["tcp/443", "udp/53", "ping", "any"]);
        out += &format!("[[flow]]\nfrom = \"{from}\"\nto = \"{to}\"\n{action} = [\"{service}\"]\n");
    }
    out
}

fn host_in(r: &mut Random, zone: &str, hosts: &[&str]) -> String {
    match r.below(10) {
        0..=2 => zone.to_owned(),
        3 if zone != "firewall" => format!("{zone}:{}", r.pick(&["server", "staff", "nested", "partners"])),
        4 => format!("{zone}:!{}", r.pick(hosts)),
        5 if zone != "firewall" => format!("{zone}:!{}", r.pick(&["staff", "nested"])),
        _ => format!("{zone}:{}", r.pick(hosts)),
    }
}

/// A TOML list of one to `most` texts.
fn list(r: &mut Random, most: usize, mut one: impl FnMut(&mut Random) -> String) -> String {
    let count = 1 + r.below(most);
    let items: Vec<String> = (0..count).map(|_| format!("\"{}\"", one(r))).collect();
    if items.len() == 1 && r.chance(50) && most < 3 {
        items[0].clone()
    } else {
        format!("[{}]", items.join(", "))
    }
}

fn interfaces(r: &mut Random) -> String {
    let pair = r.chance(25);
    let both =
        |n: &str| if pair { format!("{{ a = \"{n}\", b = \"{}\" }}", second(n)) } else { format!("\"{n}\"") };
    let many = |list: &[&str]| {
        let text = |f: &dyn Fn(&str) -> String| {
            list.iter().map(|n| format!("\"{}\"", f(n))).collect::<Vec<_>>().join(", ")
        };
        if pair {
            format!("{{ a = [{}], b = [{}] }}", text(&|n| n.to_owned()), text(&|n| second(n)))
        } else {
            format!("[{}]", text(&|n| n.to_owned()))
        }
    };
    let mut out = String::from("version = 1\n");
    out += if pair { "[pair]\nnodes = [\"a\", \"b\"]\nsync = \"sync\"\n" } else { "node = \"fw\"\n" };
    let wan: &[&str] = match r.below(4) {
        0 => &["203.0.113.2/24", "203.0.113.3/24", "2001:db8:113::2/64"],
        1 => &["203.0.113.2/24", "198.18.5.2/24", "2001:db8:113::2/64"],
        _ => &["203.0.113.2/24", "2001:db8:113::2/64"],
    };
    let gateway = match r.below(5) {
        0 => "",
        1 => "gateway = \"203.0.113.1\"\n",
        _ => "gateway = [\"203.0.113.1\", \"2001:db8:113::1\"]\n",
    };
    out += &format!("[interface.wan]\ndevice = \"ext0\"\nzone = \"wan\"\naddress = {}\n{gateway}", many(wan));
    if pair && r.chance(50) {
        out += "virtual = { address = \"203.0.113.100/24\", vrid = 1 }\n";
    }
    if r.chance(30) {
        out += &format!(
            "[interface.fibre]\ndevice = \"ext1\"\nzone = \"wan\"\naddress = {}\n\
             gateway = [\"192.0.2.241\", \"2001:db8:115::1\"]\n",
            many(&["192.0.2.242/28", "2001:db8:115::2/64"])
        );
    }
    out += &format!(
        "[interface.lan]\ndevice = \"int0\"\nzone = \"lan\"\naddress = {}\n",
        many(&["192.168.10.1/24", "fd00:10::1/64"])
    );
    if pair && r.chance(50) {
        let accept = if r.chance(25) { ", accept = false" } else { "" };
        out += &format!(
            "virtual = [{{ address = \"192.168.10.254/24\", vrid = 10{accept} }}, \
             {{ address = \"fd00:10::fe/64\", vrid = 11 }}]\n"
        );
    }
    if r.chance(40) {
        out += &format!(
            "[interface.lan2]\ndevice = \"int1\"\nzone = \"lan\"\naddress = {}\n",
            many(&["192.168.11.1/24", "fd00:11::1/64"])
        );
    }
    out += &format!(
        "[interface.dmz]\ndevice = \"dmz0\"\nzone = \"dmz\"\naddress = {}\n",
        many(&["192.168.20.1/24", "fd00:20::1/64"])
    );
    if r.chance(30) {
        out += &format!(
            "[interface.dmz-b]\ndevice = \"dmz1\"\nzone = \"dmz\"\naddress = {}\n",
            both("198.51.100.193/26")
        );
    }
    out += &format!(
        "[interface.guest]\ndevice = \"gst0\"\nzone = \"guest\"\naddress = {}\n",
        both("172.16.30.1/24")
    );
    if pair || r.chance(40) {
        out += &format!("[interface.sync]\ndevice = \"sync0\"\naddress = {}\n", both("169.254.77.1/30"));
    }
    out
}

/// The same network for the second node: another host in it.
fn second(net: &str) -> String {
    let (address, length) = net.split_once('/').unwrap_or((net, "32"));
    match address.rsplit_once(':') {
        Some((head, _)) => format!("{head}:222/{length}"),
        None => {
            let (head, last) = address.rsplit_once('.').unwrap_or((address, "1"));
            let last: u8 = last.parse().unwrap_or(1);
            format!("{head}.{}/{length}", if last == 1 { 2 } else { last + 9 })
        }
    }
}

/// Groups of remote users, in one IP version or both.
fn groups(r: &mut Random) -> String {
    let agents =
        r.pick(&["\"10.77.1.0/24\"", "[\"10.77.1.0/24\", \"fd00:77:1::/64\"]", "\"fd00:77:1::/64\""]);
    let guests = r.pick(&["\"10.77.2.0/28\"", "[\"fd00:77:2::/112\", \"10.77.2.0/28\"]"]);
    format!("[vpn.group.agents]\npool = {agents}\n[vpn.group.guests]\npool = {guests}\n")
}

/// Where remote access listens; some of it is published, which the reader refuses where a port is named.
fn remote_access(r: &mut Random) -> String {
    let listen = r.pick(&[
        "",
        "",
        "listen = [\"wan\", \"guest\"]\n",
        "listen = \"203.0.113.2\"\n",
        "listen = \"dmz\"\n",
    ]);
    let tcp = r.pick(&["", "", "tcp = 443\n", "tcp = 8443\n", "tcp = false\n"]);
    let port = r.pick(&["", "", "port = 5002\n"]);
    let offload = r.pick(&["", "offload = \"kernel\"\n"]);
    format!("[vpn]\n{listen}{tcp}{port}{offload}")
}

fn zones(r: &mut Random) -> String {
    let mut out = String::new();
    for zone in ["wan", "lan", "dmz", "guest"] {
        out += &format!("[zone.{zone}]\nsyn_limit = \"off\"\n");
        for key in ["block_private", "block_bogons", "anti_spoof"] {
            if r.chance(50) {
                out += &format!("{key} = {}\n", r.chance(if key == "anti_spoof" { 30 } else { 50 }));
            }
        }
        if zone == "guest" && r.chance(30) {
            out += "external = true\n";
        }
    }
    out
}

fn names() -> String {
    "[host]\nserver = [\"192.168.20.11\"]\nstaff = [\"192.168.10.10\", \"192.168.10.12-192.168.10.19\", \
     \"fd00:10::10\", \"10.20.128.0/17\"]\nnested = [\"server\", \"staff\", \"172.16.30.5\"]\n\
     partners = [\"192.0.2.0/25\", \"2001:db8:99:7::/64\", \"198.51.100.7\"]\n\
     [service]\nweb = [\"tcp/80\", \"tcp/443\", \"tcp/8080-8088\"]\n\
     mixed = [\"web\", \"udp/5000-5100\", \"icmp/echo-request\", \"proto/47\"]"
        .into()
}

fn routes(r: &mut Random) -> Vec<String> {
    let route = |to: &str, via: &str| format!("[[route]]\nto = \"{to}\"\nvia = \"{via}\"\n");
    let mut out = Vec::new();
    for (to, via) in [
        ("10.20.0.0/16", "192.168.10.253"),
        ("10.30.0.0/24", "192.168.20.253"),
        ("fd00:2000::/48", "fd00:10::253"),
        ("10.66.0.0/16", "blackhole"),
        ("10.20.99.0/24", "blackhole"),
        ("2001:db8:dead::/48", "blackhole"),
        ("10.20.44.0/24", "172.16.30.9"),
    ] {
        if r.chance(60) {
            out.push(route(to, via));
        }
    }
    out
}

fn nat(r: &mut Random) -> String {
    format!("[nat]\noutbound = \"{}\"\n", r.pick(&["automatic", "hybrid", "hybrid", "manual"]))
}

fn translations(r: &mut Random) -> Vec<String> {
    let mut out = Vec::new();
    for (outside, inside) in [
        ("203.0.113.16/28", "192.168.20.16/28"),
        ("203.0.113.9/32", "192.168.10.11/32"),
        ("2001:db8:113:0:9::/80", "fd00:20:0:0:9::/80"),
    ] {
        if r.chance(35) {
            out.push(format!(
                "[[nat.one_to_one]]\noutside = \"{outside}\"\ninside = \"{inside}\"\ninterface = \"wan\"\n"
            ));
        }
    }
    for _ in 0..r.below(5) {
        let from = if r.chance(10) { "\"firewall\"".into() } else { side(r, true) };
        let to = list(r, 2, |r| match r.below(3) {
            0 => (*r.pick(&["lan", "dmz", "guest"])).to_owned(),
            1 => host_in(r, "wan", WAN),
            _ => "wan".into(),
        });
        let address =
            *r.pick(&["none", "interface", "203.0.113.2", "203.0.113.8", "192.168.20.1", "2001:db8:113::88"]);
        let service = if r.chance(40) {
            format!("service = {}\n", list(r, 3, |r| (*r.pick(SERVICES)).to_owned()))
        } else {
            String::new()
        };
        out.push(format!("[[nat.source]]\nfrom = {from}\nto = {to}\naddress = \"{address}\"\n{service}"));
    }
    out
}

fn blocklists(r: &mut Random) -> String {
    let mut out = String::new();
    if r.chance(40) {
        out += "[blocklist.scanners]\nfile = \"/var/lib/lists/scanners\"\n";
    }
    if r.chance(20) {
        out +=
            "[blocklist.bad-inside]\nfile = \"/var/lib/lists/bad\"\nzones = [\"lan\", \"dmz\"]\nlog = true\n";
    }
    if r.chance(50) {
        out += "[policy]\nnoise = [\"netbios\", \"udp/5050\", \"icmp/13\", \"proto/50\"]\n";
    }
    out
}
