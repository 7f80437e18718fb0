//! Owns how answers about remote access look for a person. Pure: documents in, text out.

use rempart_bus::vpn::{
    AuthorityView, DeviceView, Enrolment, Imported, Profile, SessionView, TestReport, UserView, VpnStatus,
    Warning,
};

use crate::cli::print::{dim, heads, plain};
use crate::cli::run::Console;
use crate::cli::table::{Align, Table};
use crate::format::{bytes, date_minute, date_time, integer};
use crate::tr;
use crate::vpn::Answer;
use crate::words::{self, Tone};

impl Console {
    /// Any answer.
    pub fn vpn(&self, answer: &Answer) -> String {
        match answer {
            Answer::Status(status) => self.vpn_status(status),
            Answer::Sessions(sessions) => self.vpn_sessions(sessions),
            Answer::Disconnected(count) => tr!(self.lang, "vpn-disconnected", count = *count),
            Answer::Users(users) => self.vpn_users(users),
            Answer::Enrolment(enrolment) => self.enrolment(enrolment),
            Answer::Devices(devices) => self.vpn_devices(devices),
            Answer::Profile(profile) => profile.text.clone(),
            Answer::Imported(imported) => self.imported(imported),
            Answer::Authorities(authorities) => self.authorities(authorities),
            Answer::Authority(authority) => self.authorities(std::slice::from_ref(authority)),
            Answer::Test(report) => self.test_report(report),
            Answer::Wireguard(status) => self.wireguard(status),
            Answer::WireguardKey(key) => self.wireguard_key(key),
            Answer::WireguardClient(client) => client.text.clone(),
            Answer::Done => tr!(self.lang, "vpn-done"),
        }
    }

    fn vpn_status(&self, s: &VpnStatus) -> String {
        let lang = self.lang;
        let node = s.node.as_str();
        let (tone, first) = match (s.configured, s.active, &s.active_node) {
            (false, _, _) => (Tone::Dim, tr!(lang, "vpn-not-configured", node = node)),
            (true, true, _) => (Tone::Good, tr!(lang, "vpn-serves", node = node, sessions = s.sessions)),
            (true, false, Some(other)) => {
                (Tone::Plain, tr!(lang, "vpn-waits", node = node, other = other.as_str()))
            }
            (true, false, None) => (Tone::Warn, tr!(lang, "vpn-waits-alone", node = node)),
        };
        let mut lines = vec![self.paint.tone(tone, &first)];
        if !s.listen.is_empty() {
            lines.push(tr!(lang, "vpn-listens", addresses = s.listen.join(", ")));
        }
        lines.extend(s.in_kernel.map(|count| tr!(lang, "vpn-in-kernel", count = count)));
        lines.push(tr!(lang, "vpn-people", users = s.users, devices = s.devices));
        if let Some(authority) = &s.authority {
            let until = date_minute(&self.tz, &authority.until);
            lines.push(tr!(lang, "vpn-authority", name = authority.name.as_str(), until = until));
        }
        let l = &s.logins;
        lines.push(tr!(
            lang,
            "vpn-logins",
            accepted = l.accepted,
            renewed = l.renewed,
            refused = l.refused,
            slowed = l.slowed
        ));
        lines
            .extend(s.warnings.iter().map(|warning| self.paint.tone(Tone::Warn, &self.vpn_warning(warning))));
        lines.join("\n") + "\n"
    }

    fn vpn_warning(&self, w: &Warning) -> String {
        let what = tr!(self.lang, words::vpn_warning(&w.code));
        match (w.about.as_str(), &w.until) {
            ("", None) => tr!(self.lang, "vpn-warning", what = what),
            (about, None) => tr!(self.lang, "vpn-warning-about", what = what, about = about),
            ("", Some(until)) => {
                tr!(self.lang, "vpn-warning-about", what = what, about = date_minute(&self.tz, until))
            }
            (about, Some(until)) => {
                let until = date_minute(&self.tz, until);
                tr!(self.lang, "vpn-warning-until", what = what, about = about, until = until)
            }
        }
    }

    fn vpn_sessions(&self, sessions: &[SessionView]) -> String {
        let lang = self.lang;
        if sessions.is_empty() {
            return tr!(lang, "vpn-nobody");
        }
        let mut table = heads!(lang;
            "head-id" Right, "head-user" Left, "head-label" Left, "head-group" Left, "head-since" Left,
            "head-source" Left, "head-address" Left, "head-received" Right, "head-sent" Right, "head-client" Left);
        for s in sessions {
            let from = format!("{} {}", s.transport, s.from);
            table.row([
                dim(s.id.to_string()),
                (s.user.clone(), Tone::Accent),
                plain(s.label.as_deref().or(s.device.as_deref()).unwrap_or("-")),
                plain(&s.group),
                plain(date_time(&self.tz, &s.since)),
                plain(if s.in_kernel { tr!(lang, "vpn-from-kernel", from = from) } else { from }),
                plain(s.addresses.join(" ")),
                plain(bytes(lang, s.bytes_in)),
                plain(bytes(lang, s.bytes_out)),
                dim(&s.client),
            ]);
        }
        table.print(self.paint)
    }

    fn vpn_users(&self, users: &[UserView]) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-user" Left, "head-state" Left, "head-full-name" Left, "head-password" Left, "head-code" Left,
            "head-groups" Left, "head-demands" Left, "head-devices" Right, "head-expires" Left);
        let now = jiff::Timestamp::now();
        for u in users {
            let expired = u.expires.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            // A directory may add groups, so to be in none here is nothing to look at.
            let in_group = !u.demands.is_empty() || u.source != "local";
            let state = words::user(u.disabled, expired.is_some_and(|until| until <= now), in_group);
            let password = match (u.source.as_str(), &u.password_set) {
                ("directory", _) => tr!(lang, "password-directory"),
                ("radius", _) => tr!(lang, "password-radius"),
                (_, Some(set)) => date_minute(&self.tz, set),
                (_, None) => "-".to_owned(),
            };
            let code = match u.code.as_str() {
                "confirmed" => tr!(lang, "code-confirmed"),
                "enrolled" => tr!(lang, "code-enrolled"),
                _ => "-".to_owned(),
            };
            let demands: Vec<String> = u.demands.iter().map(|word| self.demand(word)).collect();
            table.row([
                (u.name.clone(), Tone::Accent),
                self.sign(state),
                plain(if u.full_name.is_empty() { "-" } else { &u.full_name }),
                plain(password),
                plain(code),
                plain(if u.groups.is_empty() { "-".to_owned() } else { u.groups.join(", ") }),
                dim(if demands.is_empty() { "-".to_owned() } else { demands.join(" + ") }),
                plain(integer(lang, u.devices)),
                plain(u.expires.as_ref().map_or("-".to_owned(), |until| date_minute(&self.tz, until))),
            ]);
        }
        table.print(self.paint)
    }

    fn demand(&self, word: &str) -> String {
        match word {
            "certificate" => tr!(self.lang, "demand-certificate"),
            "password" => tr!(self.lang, "demand-password"),
            "code" => tr!(self.lang, "demand-code"),
            other => other.to_owned(),
        }
    }

    fn vpn_devices(&self, devices: &[DeviceView]) -> String {
        let mut table = heads!(self.lang;
            "head-device-id" Left, "head-user" Left, "head-label" Left, "head-state" Left, "head-until" Left,
            "head-created" Left);
        for d in devices {
            table.row([
                dim(&d.id),
                (d.user.clone(), Tone::Accent),
                plain(&d.label),
                self.sign(words::device(&d.state)),
                plain(date_minute(&self.tz, &d.until)),
                dim(date_minute(&self.tz, &d.created)),
            ]);
        }
        table.print(self.paint)
    }

    fn authorities(&self, authorities: &[AuthorityView]) -> String {
        let lang = self.lang;
        if authorities.is_empty() {
            return tr!(lang, "vpn-no-authority");
        }
        let mut out = String::new();
        for (place, a) in authorities.iter().enumerate() {
            if place > 0 {
                out.push('\n');
            }
            let name = self.paint.tone(Tone::Accent, &a.name);
            let until = date_minute(&self.tz, &a.until);
            let first = if a.issues {
                tr!(
                    lang,
                    "authority-issues",
                    name = name,
                    until = until,
                    issued = a.issued,
                    revoked = a.revoked
                )
            } else {
                tr!(lang, "authority-vouches", name = name, until = until)
            };
            let list = match (a.list_number, &a.list_until) {
                (Some(number), Some(until)) => {
                    let until = date_minute(&self.tz, until);
                    tr!(lang, "authority-list", number = number.to_string(), until = until)
                }
                _ => tr!(lang, "authority-no-list"),
            };
            let print = tr!(lang, "authority-fingerprint", fingerprint = a.fingerprint.as_str());
            out.push_str(&format!("{first}\n{list}\n{}\n", self.paint.tone(Tone::Dim, &print)));
            if let Some(until) = &a.earlier_until {
                out.push_str(&tr!(lang, "authority-renewed", until = date_minute(&self.tz, until)));
                out.push('\n');
            }
        }
        out
    }

    fn enrolment(&self, e: &Enrolment) -> String {
        let mut out = e.qr.join("\n");
        out.push('\n');
        out.push_str(&tr!(self.lang, "vpn-enrolled", user = e.user.as_str(), secret = e.secret.as_str()));
        out
    }

    fn imported(&self, imported: &Imported) -> String {
        let mut lines = vec![tr!(self.lang, "vpn-imported", what = imported.what.as_str())];
        lines.extend(
            imported.advice.iter().map(|advice| tr!(self.lang, "vpn-advice", advice = advice.as_str())),
        );
        lines.join("\n")
    }

    /// Where a profile went, and what to do with it.
    pub fn exported(&self, p: &Profile, path: &str) -> String {
        tr!(
            self.lang,
            "vpn-exported",
            file = path,
            user = p.user.as_str(),
            label = p.label.as_str(),
            device = p.device.as_str(),
            until = date_minute(&self.tz, &p.until)
        )
    }

    fn test_report(&self, r: &TestReport) -> String {
        let lang = self.lang;
        let mut lines: Vec<String> = r.steps.iter().map(|step| format!("  {step}")).collect();
        lines.push(if r.accepted {
            let text = tr!(lang, "vpn-test-accepted", groups = r.groups.join(", "), ms = r.took_ms);
            self.paint.tone(Tone::Good, &text)
        } else {
            let told = r.told.as_deref().unwrap_or("-");
            self.paint.tone(Tone::Bad, &tr!(lang, "vpn-test-refused", told = told, ms = r.took_ms))
        });
        lines.join("\n")
    }
}
