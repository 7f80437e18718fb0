//! Owns the filter language of connections and log, and the orders of the connection table.
//!
//! `port:443 zone:lan flow:web addr:192.168.10.0/24 proto:udp action:drop text`: all terms must hold, `!` before
//! a term turns it round, and what is no known key is searched in everything that is shown.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;
use rempart_bus::documents::{Connection, LogEntry};

/// A filter; the empty one lets everything through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    terms: Vec<(bool, Term)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    Port(u16),
    Zone(String),
    Flow(String),
    Address(IpNet),
    Protocol(String),
    Action(String),
    Text(String),
}

/// What a filter looks at.
pub trait Subject {
    /// Every address in it.
    fn addresses(&self) -> Vec<IpAddr>;
    /// Every port in it.
    fn ports(&self) -> Vec<u16>;
    /// The zones at both ends.
    fn zones(&self) -> [Option<&str>; 2];
    /// Number and name of the flow.
    fn flow(&self) -> (u32, &str);
    /// The protocol.
    fn protocol(&self) -> &str;
    /// What became of it.
    fn action(&self) -> &str;
    /// What else is shown and searched.
    fn others(&self) -> [Option<&str>; 3];
}

impl Subject for Connection {
    fn addresses(&self) -> Vec<IpAddr> {
        let translated = [self.translated_destination, self.translated_source];
        [self.source, self.destination]
            .into_iter()
            .chain(translated.into_iter().flatten().map(|t| t.0))
            .collect()
    }
    fn ports(&self) -> Vec<u16> {
        let translated = [self.translated_destination, self.translated_source];
        let own = [self.source_port, self.destination_port];
        own.into_iter().chain(translated.into_iter().flatten().map(|t| t.1)).collect()
    }
    fn zones(&self) -> [Option<&str>; 2] {
        [self.from_zone.as_deref(), self.to_zone.as_deref()]
    }
    fn flow(&self) -> (u32, &str) {
        (self.flow, &self.flow_label)
    }
    fn protocol(&self) -> &str {
        &self.protocol
    }
    fn action(&self) -> &str {
        "allow"
    }
    fn others(&self) -> [Option<&str>; 3] {
        [Some(&self.state), None, None]
    }
}

impl Subject for LogEntry {
    fn addresses(&self) -> Vec<IpAddr> {
        vec![self.source, self.destination]
    }
    fn ports(&self) -> Vec<u16> {
        vec![self.source_port, self.destination_port]
    }
    fn zones(&self) -> [Option<&str>; 2] {
        [self.from_zone.as_deref(), self.to_zone.as_deref()]
    }
    fn flow(&self) -> (u32, &str) {
        (self.flow, &self.reason)
    }
    fn protocol(&self) -> &str {
        &self.protocol
    }
    fn action(&self) -> &str {
        &self.action
    }
    fn others(&self) -> [Option<&str>; 3] {
        [self.in_interface.as_deref(), self.out_interface.as_deref(), Some(&self.time)]
    }
}

impl Filter {
    /// Reads a filter; gives back what it understands and the last word that makes no sense.
    pub fn parse(text: &str) -> (Filter, Option<String>) {
        let (mut terms, mut bad) = (Vec::new(), None);
        for word in text.split_whitespace() {
            let (wanted, term) = match word.strip_prefix('!') {
                Some(rest) if !rest.is_empty() => (false, rest),
                Some(_) | None => (true, word),
            };
            let term = match term.split_once(':') {
                Some(("port", v)) => v.parse().ok().map(Term::Port),
                Some(("zone", v)) => Some(Term::Zone(v.to_lowercase())),
                Some(("flow", v)) => Some(Term::Flow(v.to_lowercase())),
                Some(("addr" | "address", v)) => network(v).map(Term::Address),
                Some(("proto" | "protocol", v)) => Some(Term::Protocol(v.to_lowercase())),
                Some(("action", v)) => Some(Term::Action(v.to_lowercase())),
                Some(_) | None => Some(Term::Text(term.to_lowercase())),
            };
            match term {
                Some(term) => terms.push((wanted, term)),
                None => bad = Some(word.to_owned()),
            }
        }
        (Filter { terms }, bad)
    }

    /// Adds that it must be from or to this zone.
    pub fn with_zone(mut self, zone: Option<&str>) -> Self {
        self.terms.extend(zone.map(|z| (true, Term::Zone(z.to_lowercase()))));
        self
    }
    /// Adds that this flow, by number or by part of its name, must have decided.
    pub fn with_flow(mut self, flow: Option<&str>) -> Self {
        self.terms.extend(flow.map(|f| (true, Term::Flow(f.to_lowercase()))));
        self
    }
    /// Adds that this address must be in it.
    pub fn with_address(mut self, address: Option<IpAddr>) -> Self {
        self.terms.extend(address.map(|a| (true, Term::Address(a.into()))));
        self
    }
    /// Adds that this port must be in it.
    pub fn with_port(mut self, port: Option<u16>) -> Self {
        self.terms.extend(port.map(|p| (true, Term::Port(p))));
        self
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it lets this through.
    pub fn matches(&self, subject: &impl Subject) -> bool {
        self.terms.iter().all(|(wanted, term)| *wanted == term.holds(subject))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Term {
    fn holds(&self, s: &impl Subject) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(part);
        match self {
            Self::Port(port) => s.ports().contains(port),
            Self::Zone(zone) => s.zones().into_iter().flatten().any(|z| z.eq_ignore_ascii_case(zone)),
            Self::Flow(flow) => {
                let (number, label) = s.flow();
                match flow.parse::<u32>() {
                    Ok(wanted) => wanted == number,
                    Err(_) => contains(label, flow),
                }
            }
            Self::Address(net) => s.addresses().iter().any(|a| net.contains(a)),
            Self::Protocol(p) => s.protocol().eq_ignore_ascii_case(p),
            Self::Action(a) => s.action().eq_ignore_ascii_case(a),
            Self::Text(text) => {
                let named = s.zones().into_iter().chain(s.others()).flatten();
                named.chain([s.flow().1, s.protocol(), s.action()]).any(|t| contains(t, text))
                    || s.addresses().iter().any(|a| a.to_string().contains(text.as_str()))
                    || text.parse().is_ok_and(|port: u16| s.ports().contains(&port))
            }
        }
    }
}

/// An order of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// As the daemon gives them: newest first.
    #[default]
    Newest,
    /// The most bytes first.
    Bytes,
    /// The oldest first.
    Age,
    /// The first to be forgotten first.
    Timeout,
}

impl Order {
    /// The one after it, round and round.
    pub fn next(self) -> Order {
        match self {
            Self::Newest => Self::Bytes,
            Self::Bytes => Self::Age,
            Self::Age => Self::Timeout,
            Self::Timeout => Self::Newest,
        }
    }

    /// Puts connections in this order; equals stay as they were.
    pub fn sort(self, connections: &mut [&Connection]) {
        match self {
            Self::Newest => {}
            Self::Bytes => {
                connections.sort_by_key(|c| Reverse(c.bytes_in.saturating_add(c.bytes_out)));
            }
            Self::Age => connections.sort_by_key(|c| Reverse(c.age_s)),
            Self::Timeout => connections.sort_by_key(|c| c.timeout_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn kept(filter: &str) -> Vec<u32> {
        let (filter, bad) = Filter::parse(filter);
        assert_eq!(bad, None);
        fixtures::connections().iter().filter(|c| filter.matches(*c)).map(|c| c.id).collect()
    }

    #[test]
    fn each_key_looks_at_both_ends() {
        let all = fixtures::connections();
        assert_eq!(kept(""), all.iter().map(|c| c.id).collect::<Vec<_>>());
        assert_eq!(kept("port:993"), [7003]);
        assert_eq!(kept("zone:vpn"), [7003]);
        assert_eq!(kept("flow:published"), [7001]);
        assert_eq!(kept("addr:192.168.20.11"), [7001, 7002]);
        assert_eq!(kept("addr:192.168.20.0/24 !flow:published"), [7002]);
        assert_eq!(kept("proto:icmp"), [7004]);
    }

    #[test]
    fn plain_text_searches_what_is_shown() {
        assert_eq!(kept("syn_sent"), [7005]);
        assert_eq!(kept("2001:db8"), [7005]);
        assert_eq!(kept("!192.168"), [7005]);
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(Filter::parse("zone:lan port:https").1.as_deref(), Some("port:https"));
        assert_eq!(Filter::parse("addr:192.168.20").1.as_deref(), Some("addr:192.168.20"));
    }

    #[test]
    fn the_log_is_filtered_by_action_too() {
        let (filter, _) = Filter::parse("action:drop zone:wan");
        let page = fixtures::log();
        assert!(page.entries.iter().any(|e| filter.matches(e)));
        assert!(page.entries.iter().filter(|e| filter.matches(*e)).all(|e| e.action == "drop"));
    }

    #[test]
    fn orders() {
        let all = fixtures::connections();
        let first = |order: Order| {
            let mut refs: Vec<_> = all.iter().collect();
            order.sort(&mut refs);
            refs[0].id
        };
        assert_eq!(first(Order::Newest), all[0].id);
        assert_eq!(first(Order::Bytes), 7002);
        assert_eq!(first(Order::Age), 7003);
        assert_eq!(first(Order::Timeout), 7004);
    }
}
