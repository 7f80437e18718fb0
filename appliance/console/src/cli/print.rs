//! Owns how answers look for a person on the command line. Pure: documents in, text out.

use rempart_bus::documents::{
    CheckReport, CommitReport, Connection, Explanation, FlowStatus, InterfaceStatus, LogEntry, Revision,
    Status,
};

use super::run::Console;
use super::table::{Align, Table};
use crate::bus::{Reply, Request};
use crate::format::{bit_rate, bytes, date_minute, date_time, duration, integer, short_duration};
use crate::matrix::Matrix;
use crate::offline::Service;
use crate::tr;
use crate::words::{self, Sign, Tone};

/// A heading and the side its column is padded on.
macro_rules! heads {
    ($lang:expr; $($id:literal $align:ident),+ $(,)?) => {
        Table::new([$((tr!($lang, $id), Align::$align)),+])
    };
}
pub(super) use heads;

pub(super) fn plain(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Plain)
}

pub(super) fn dim(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Dim)
}

/// `address:port`, with brackets around IPv6; the address alone where there is no port.
pub fn endpoint(address: &std::net::IpAddr, port: u16) -> String {
    match (port, address) {
        (0, _) => address.to_string(),
        (_, std::net::IpAddr::V4(a)) => format!("{a}:{port}"),
        (_, std::net::IpAddr::V6(a)) => format!("[{a}]:{port}"),
    }
}

/// Where a packet goes, or what kind of ICMP message it is.
pub fn target(protocol: &str, address: &std::net::IpAddr, port: u16) -> String {
    match protocol {
        "icmp" | "icmp6" => address.to_string(),
        _ => endpoint(address, port),
    }
}

/// The zones of both ends: `lan→dmz`.
pub fn way(from: Option<&str>, to: Option<&str>) -> String {
    format!("{}→{}", from.unwrap_or("?"), to.unwrap_or("?"))
}

impl Console {
    /// Any answer.
    pub fn reply(&self, request: &Request, reply: &Reply) -> String {
        let lang = self.lang;
        match reply {
            Reply::Status(status) => self.status(status),
            Reply::Flows(flows) => self.flows(flows),
            Reply::Connections(list) => self.connections(&list.iter().collect::<Vec<_>>()),
            Reply::Log(page) => self.log(&page.entries, true),
            Reply::Check(report) => self.check_report(report),
            Reply::Explain(explanation) => self.explanation(explanation),
            Reply::Commit(report) => self.commit_report(report),
            Reply::History(revisions) => self.history(revisions),
            Reply::Text(text) if text.is_empty() && matches!(request, Request::Diff(..)) => {
                tr!(lang, "diff-empty")
            }
            Reply::Text(text) if matches!(request, Request::Diff(..)) => self.diff(text),
            Reply::Text(text) => text.clone(),
            Reply::Number(n) => match request {
                Request::Confirm => tr!(lang, "confirm-done", revision = n.to_string()),
                Request::Revert => tr!(lang, "revert-done", revision = n.to_string()),
                Request::Resolve(_) => tr!(lang, "resolve-done", revision = n.to_string()),
                _ => tr!(lang, "kill-done", count = *n),
            },
            Reply::Audit(report) => self.audit(report),
            Reply::Setup(status) => self.ports(status),
            Reply::Ssh(status) => self.ssh(status),
            Reply::HaStatus(status) => self.ha_status(status),
            Reply::PairingOffer(offer) => self.pairing_offer(offer),
            Reply::Pairing(pairing) => self.pairing(pairing),
            Reply::Vpn(answer) => self.vpn(answer),
            Reply::Update(answer) => self.update(answer),
            Reply::Done => match request {
                Request::Switch => tr!(lang, "switch-done"),
                Request::Maintenance(true) => tr!(lang, "maintenance-on"),
                Request::Maintenance(false) => tr!(lang, "maintenance-off"),
                _ => tr!(lang, "load-done"),
            },
        }
    }

    pub fn sign(&self, sign: Sign) -> (String, Tone) {
        (format!("{} {}", sign.glyph, tr!(self.lang, sign.word)), sign.tone)
    }

    pub fn painted(&self, sign: Sign) -> String {
        let (text, tone) = self.sign(sign);
        self.paint.tone(tone, &text)
    }

    fn status(&self, s: &Status) -> String {
        let lang = self.lang;
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(tr!(
            lang,
            "status-head",
            node = s.node.as_str(),
            role = self.painted(words::role(&s.role)),
            uptime = duration(lang, s.uptime_s),
            version = s.product_version.as_str()
        ));
        match &s.revision {
            Some(r) => line(words::in_force(lang, &self.tz, r)),
            None => line(tr!(lang, "status-no-revision")),
        }
        if let Some(p) = &s.pending {
            let text = tr!(
                lang,
                "status-pending",
                revision = p.revision.to_string(),
                left = duration(lang, p.left_s),
                author = p.author.as_str()
            );
            line(self.paint.tone(Tone::Warn, &text));
        }
        if s.candidate {
            line(tr!(lang, "status-candidate"));
        }
        line(tr!(lang, "status-connections", count = s.connections, max = s.connections_max));
        line(tr!(lang, "status-flows", count = s.flows, inactive = s.flows_inactive));
        line(String::new());
        line(self.interfaces(&s.interfaces).trim_end().to_owned());
        line(String::new());
        if s.faults.is_empty() {
            line(self.paint.tone(Tone::Good, &tr!(lang, "status-no-faults")));
        }
        for f in &s.faults {
            let text = tr!(lang, "status-fault", code = f.code.as_str(), message = f.message.as_str());
            line(self.paint.tone(Tone::Bad, &text));
        }
        out
    }

    fn interfaces(&self, interfaces: &[InterfaceStatus]) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-interface" Left, "head-zone" Left, "head-device" Left, "head-state" Left,
            "head-in" Right, "head-out" Right, "head-addresses" Left);
        for i in interfaces {
            let addresses = match (i.addresses.is_empty(), i.dhcp) {
                (true, _) => "-".to_owned(),
                (false, false) => i.addresses.join(" "),
                (false, true) => tr!(lang, "interface-dhcp", addresses = i.addresses.join(" ")),
            };
            table.row([
                (i.name.clone(), Tone::Accent),
                plain(i.zone.as_deref().unwrap_or("-")),
                plain(&i.device),
                self.sign(words::interface(i)),
                plain(bit_rate(lang, i.rx_bits_per_s)),
                plain(bit_rate(lang, i.tx_bits_per_s)),
                plain(addresses),
            ]);
        }
        table.print(self.paint)
    }

    fn flows(&self, flows: &[FlowStatus]) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-number" Right, "head-flow" Left, "head-action" Left, "head-from" Left, "head-to" Left,
            "head-services" Left, "head-state" Left, "head-hits" Right, "head-line" Right, "head-why" Left);
        for f in flows {
            table.row([
                plain(f.id.to_string()),
                (f.label.clone(), Tone::Accent),
                self.sign(words::action(&f.action)),
                plain(&f.from),
                plain(&f.to),
                plain(&f.services),
                self.sign(words::flow(f)),
                plain(integer(lang, f.hits)),
                dim(f.line.to_string()),
                dim(f.why.as_deref().unwrap_or("")),
            ]);
        }
        table.print(self.paint)
    }

    /// Zones by zones.
    pub fn matrix(&self, status: &Status, flows: &[FlowStatus]) -> String {
        let lang = self.lang;
        let matrix = Matrix::new(status, flows, &[]);
        let corner = (tr!(lang, "matrix-corner"), Align::Left);
        let zones = matrix.zones.iter().map(|z| (z.clone(), Align::Left));
        let mut table = Table::new(std::iter::once(corner).chain(zones));
        for (row, from) in matrix.zones.iter().enumerate() {
            let cells = (0..matrix.zones.len()).map(|column| {
                let cell = matrix.cell(row, column);
                (cell.text(), cell.tone())
            });
            table.row(std::iter::once((from.clone(), Tone::Accent)).chain(cells));
        }
        format!("{}\n{}\n", table.print(self.paint), tr!(lang, "matrix-legend"))
    }

    /// Connections, in the order given.
    pub fn connections(&self, list: &[&Connection]) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-id" Right, "head-protocol" Left, "head-source" Left, "head-destination" Left,
            "head-zones" Left, "head-flow" Left, "head-state" Left, "head-age" Right, "head-timeout" Right,
            "head-sent" Right, "head-received" Right);
        for c in list {
            let label =
                if c.flow == 0 && c.flow_label.is_empty() { "-".to_owned() } else { c.flow_label.clone() };
            table.row([
                plain(c.id.to_string()),
                plain(&c.protocol),
                plain(endpoint(&c.source, c.source_port)),
                plain(target(&c.protocol, &c.destination, c.destination_port)),
                plain(way(c.from_zone.as_deref(), c.to_zone.as_deref())),
                (label, Tone::Accent),
                plain(&c.state),
                plain(c.age_s.map_or("-".to_owned(), |s| short_duration(lang, s))),
                plain(short_duration(lang, c.timeout_s.into())),
                plain(bytes(lang, c.bytes_out)),
                plain(bytes(lang, c.bytes_in)),
            ]);
        }
        format!("{}{}\n", table.print(self.paint), tr!(lang, "connections-count", count = list.len()))
    }

    /// Log entries, the headings only above the first.
    pub fn log(&self, entries: &[LogEntry], first: bool) -> String {
        let lang = self.lang;
        let mut out = String::new();
        if first {
            out.push_str(&self.paint.tone(Tone::Dim, &tr!(lang, "log-head")));
            out.push('\n');
        }
        for e in entries {
            // Lines come one by one, so the columns are of fixed least width instead of measured.
            let (action, tone) = self.sign(words::action(&e.action));
            let columns = [
                (date_time(&self.tz, &e.time), 19),
                (way(e.from_zone.as_deref(), e.to_zone.as_deref()), 13),
                (e.protocol.clone(), 5),
                (endpoint(&e.source, e.source_port), 21),
                (target(&e.protocol, &e.destination, e.destination_port), 21),
            ];
            let mut cells: Vec<String> = columns.into_iter().map(|(text, n)| at_least(&text, n)).collect();
            cells.insert(1, self.paint.tone(tone, &at_least(&action, 10)));
            out.push_str(&cells.join(" "));
            out.push(' ');
            out.push_str(&e.reason);
            out.push('\n');
        }
        out
    }

    /// What a check found.
    pub fn check_report(&self, report: &CheckReport) -> String {
        let lang = self.lang;
        let mut out = report.rendered.clone();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        for a in &report.assertions {
            let sign = self.painted(words::assertion(a.holds));
            let line = a.line.to_string();
            out.push_str(&tr!(lang, "assertion-line", sign = sign, name = a.name.as_str(), line = line));
            out.push('\n');
            if let Some(why) = &a.counterexample {
                out.push_str(&tr!(lang, "assertion-why", why = why.as_str()));
                out.push('\n');
            }
        }
        let summary = match report.valid {
            true => self.paint.tone(Tone::Good, &tr!(lang, "check-valid")),
            false => self.paint.tone(Tone::Bad, &tr!(lang, "check-invalid")),
        };
        out.push_str(&summary);
        out.push('\n');
        out
    }

    fn explanation(&self, e: &Explanation) -> String {
        let lang = self.lang;
        let verdict = self.painted(words::action(&e.verdict));
        let mut out = tr!(lang, "explain-verdict", verdict = verdict, summary = e.summary.as_str());
        out.push('\n');
        let decided = match e.line {
            Some(line) => {
                tr!(lang, "explain-decided-line", by = e.decided_by.as_str(), line = line.to_string())
            }
            None => tr!(lang, "explain-decided", by = e.decided_by.as_str()),
        };
        out.push_str(&decided);
        out.push_str("\n\n");
        let mut table = heads!(lang; "head-stage" Left, "head-what" Left);
        for s in &e.stages {
            table.row([(tr!(lang, words::stage(&s.stage)), Tone::Accent), plain(&s.text)]);
        }
        out.push_str(&table.print(self.paint));
        if !e.near_misses.is_empty() {
            out.push('\n');
            let mut table = heads!(lang; "head-near-miss" Left, "head-line" Right, "head-why-not" Left);
            for n in &e.near_misses {
                table.row([(n.label.clone(), Tone::Accent), dim(n.line.to_string()), plain(&n.why)]);
            }
            out.push_str(&table.print(self.paint));
        }
        out
    }

    fn commit_report(&self, r: &CommitReport) -> String {
        let lang = self.lang;
        let mut out = String::new();
        for w in &r.warnings {
            let text = tr!(
                lang,
                "commit-warning",
                line = w.line.to_string(),
                code = w.code.as_str(),
                message = w.message.as_str()
            );
            out.push_str(&self.paint.tone(Tone::Warn, &text));
            out.push('\n');
        }
        for step in &r.steps {
            out.push_str("  ");
            out.push_str(step);
            out.push('\n');
        }
        out.push_str(&tr!(
            lang,
            "commit-done",
            revision = r.revision.to_string(),
            steps = r.steps.len(),
            cut = r.connections_cut,
            ms = r.duration_ms
        ));
        out.push('\n');
        if let Some(peer) = &r.peer {
            let (tone, text) = words::peer(lang, peer);
            out.push_str(&self.paint.tone(tone, &text));
            out.push('\n');
        }
        if let Some(seconds) = r.confirm_s {
            let text = tr!(
                lang,
                "commit-trial",
                revision = r.revision.to_string(),
                left = duration(lang, seconds.into())
            );
            out.push_str(&self.paint.tone(Tone::Warn, &text));
            out.push('\n');
        }
        out
    }

    fn history(&self, revisions: &[Revision]) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-revision" Right, "head-mark" Left, "head-time" Left, "head-author" Left,
            "head-digest" Left, "head-comment" Left);
        for r in revisions {
            let mark = if r.current { tr!(lang, "history-current") } else { String::new() };
            table.row([
                plain(r.number.to_string()),
                (mark, Tone::Good),
                plain(date_minute(&self.tz, &r.time)),
                plain(&r.author),
                dim(r.digest.get(..8).unwrap_or(&r.digest)),
                plain(words::comment(lang, r)),
            ]);
        }
        table.print(self.paint)
    }

    fn diff(&self, text: &str) -> String {
        let paint = |line: &str| match line.as_bytes() {
            [b'+', ..] => self.paint.tone(Tone::Good, line),
            [b'-', ..] => self.paint.tone(Tone::Bad, line),
            [b'@', ..] => self.paint.tone(Tone::Accent, line),
            _ => line.to_owned(),
        };
        text.lines().map(|line| paint(line) + "\n").collect()
    }

    /// The services that have a name.
    pub fn services(&self, services: &[Service]) -> String {
        let mut table = heads!(self.lang; "head-service" Left, "head-ports" Left, "head-what" Left);
        for s in services {
            table.row([(s.name.clone(), Tone::Accent), plain(&s.elements), dim(&s.about)]);
        }
        table.print(self.paint)
    }
}

fn at_least(text: &str, columns: usize) -> String {
    crate::format::left(text, columns.max(crate::format::width(text)))
}
