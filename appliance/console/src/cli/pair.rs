//! Owns the verbs about the pair, and how their answers look.

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use rempart_bus::codes::RefusalCode;
use rempart_bus::ha::{HaStatus, PairingOffer, PairingStatus};

use super::print::{dim, heads, plain};
use super::run::{Console, Stop, ask, connect};
use super::table::{Align, Table};
use super::{ChoiceArg, HaVerb, OnOff};
use crate::bus::{Bus, Choice, Failure, Refusal, Reply, Request};
use crate::format::{date_time, duration, integer};
use crate::lang::Lang;
use crate::pair::{self, DIVERGED, microseconds};
use crate::tr;
use crate::words::{self, Tone};

/// Between two looks at a pairing.
const PAIRING_PERIOD: Duration = Duration::from_millis(500);

/// `rempart ha …`
pub async fn ha(console: &Console, verb: Option<HaVerb>) -> Result<(), Stop> {
    let request = match verb {
        None | Some(HaVerb::Status) => Request::HaStatus,
        Some(HaVerb::Switch) => Request::Switch,
        Some(HaVerb::Maintenance { state }) => Request::Maintenance(state == OnOff::On),
        Some(HaVerb::Diff) => Choice::Theirs.diff(),
        Some(HaVerb::Resolve { choice, yes }) => {
            let choice = match choice {
                ChoiceArg::Mine => Choice::Mine,
                ChoiceArg::Theirs => Choice::Theirs,
            };
            return resolve(console, choice, yes).await;
        }
    };
    console.forward(request).await
}

/// `rempart ha resolve`: shows what will change, and on which node, and asks.
async fn resolve(console: &Console, choice: Choice, yes: bool) -> Result<(), Stop> {
    let lang = console.lang;
    let bus = connect().await?;
    let asks = !yes && !console.json;
    if !yes && (console.json || !io::stdin().is_terminal()) {
        return Err(Stop::Usage(tr!(lang, "resolve-yes")));
    }
    let answer = ask(&bus, &Request::HaStatus).await?;
    let Reply::HaStatus(status) = Reply::parse(&Request::HaStatus, answer)? else { return Ok(()) };
    if status.configuration.state != DIVERGED {
        return Err(refused(RefusalCode::NotDiverged.to_string() + ": "));
    }
    if !console.json {
        let diff = ask(&bus, &choice.diff()).await?;
        console.line(&pair::changes(lang, &status, choice));
        console.answer(&choice.diff(), diff)?;
    }
    if asks && !agrees(console) {
        return Err(refused(tr!(lang, "resolve-left")));
    }
    let request = Request::Resolve(choice);
    let answer = ask(&bus, &request).await?;
    console.answer(&request, answer)
}

/// Whether the person says yes. Nothing is no.
fn agrees(console: &Console) -> bool {
    eprint!("{} ", tr!(console.lang, "resolve-ask"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let answer = answer.trim().to_lowercase();
    read.is_ok_and(|n| n > 0)
        && (answer.starts_with('y') || (console.lang == Lang::Fr && answer.starts_with('o')))
}

/// `rempart pair`: with a code it joins, without one it offers and waits for the other node.
pub async fn pair(console: &Console, code: Option<String>, on: Option<String>) -> Result<(), Stop> {
    let bus = connect().await?;
    if let Some(code) = code {
        let request = Request::PairJoin(code, on.unwrap_or_default());
        let answer = ask(&bus, &request).await?;
        let failed = match Reply::parse(&request, answer.clone())? {
            Reply::Pairing(status) => failure(console.lang, &status),
            other => return Err(Failure::Garbled(format!("{other:?}")).into()),
        };
        return match failed {
            Some(stop) => Err(stop),
            None => console.answer(&request, answer),
        };
    }
    let offer = ask(&bus, &Request::PairOffer).await?;
    console.answer(&Request::PairOffer, offer)?;
    if !console.json {
        console.line(&tr!(console.lang, "pair-waiting"));
    }
    tokio::select! {
        done = watch(console, &bus) => done,
        _ = tokio::signal::ctrl_c() => {
            ask(&bus, &Request::PairCancel).await?;
            Err(refused(tr!(console.lang, "pair-cancelled")))
        }
    }
}

/// Waits until an offer was taken up or has ended.
async fn watch(console: &Console, bus: &Bus) -> Result<(), Stop> {
    loop {
        tokio::time::sleep(PAIRING_PERIOD).await;
        let answer = ask(bus, &Request::Pairing).await?;
        let Reply::Pairing(status) = Reply::parse(&Request::Pairing, answer.clone())? else { return Ok(()) };
        match status.state.as_str() {
            "offering" | "joining" => {}
            "paired" => return console.answer(&Request::Pairing, answer),
            _ => {
                let expired = || refused(tr!(console.lang, "pair-expired"));
                return Err(failure(console.lang, &status).unwrap_or_else(expired));
            }
        }
    }
}

fn failure(lang: Lang, status: &PairingStatus) -> Option<Stop> {
    let reason = status.failure.as_deref()?;
    Some(refused(tr!(lang, "pair-failed", reason = reason)))
}

fn refused(text: String) -> Stop {
    Stop::Failure(Failure::Refused { kind: Refusal::Refused, text, report: None })
}

impl Console {
    /// How the pair is, at a glance.
    pub fn ha_status(&self, s: &HaStatus) -> String {
        let facts = pair::facts(self.lang, &self.tz, s);
        let mut out: String = facts.iter().map(|(tone, text)| self.paint.tone(*tone, text) + "\n").collect();
        if !s.paths.is_empty() {
            out.push('\n');
            out.push_str(&self.ha_paths(s));
        }
        if !s.routers.is_empty() {
            out.push('\n');
            out.push_str(&self.ha_routers(s));
        }
        out
    }

    fn ha_paths(&self, s: &HaStatus) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-path" Left, "head-device" Left, "head-state" Left, "head-round-trip" Right,
            "head-heard" Right, "head-lost" Right, "head-refused" Right, "head-since" Left);
        for p in &s.paths {
            table.row([
                (p.interface.clone(), Tone::Accent),
                plain(&p.device),
                self.sign(words::path(&p.state)),
                plain(p.rtt_us.map_or("-".to_owned(), |us| microseconds(lang, us.into()))),
                plain(integer(lang, p.heard)),
                plain(integer(lang, p.lost)),
                plain(integer(lang, p.refused)),
                dim(date_time(&self.tz, &p.since)),
            ]);
        }
        table.print(self.paint)
    }

    fn ha_routers(&self, s: &HaStatus) -> String {
        let mut table = heads!(self.lang;
            "head-interface" Left, "head-vrid" Right, "head-protocol" Left, "head-state" Left,
            "head-holder" Left, "head-addresses" Left);
        for r in &s.routers {
            table.row([
                (r.interface.clone(), Tone::Accent),
                plain(r.vrid.to_string()),
                plain(&r.protocol),
                self.sign(words::router(&r.state)),
                plain(pair::holder(s, r).unwrap_or("-")),
                plain(r.addresses.join(" ")),
            ]);
        }
        table.print(self.paint)
    }

    /// What to type on the other node.
    pub fn pairing_offer(&self, offer: &PairingOffer) -> String {
        tr!(
            self.lang,
            "pair-offer",
            peer = offer.peer.as_str(),
            left = duration(self.lang, offer.expires_s.into()),
            code = offer.code.as_str()
        )
    }

    /// With whom.
    pub fn pairing(&self, pairing: &PairingStatus) -> String {
        tr!(
            self.lang,
            "pair-done",
            peer = pairing.peer.as_deref().unwrap_or("?"),
            fingerprint = pairing.fingerprint.as_deref().unwrap_or("?")
        )
    }
}
