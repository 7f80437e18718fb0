//! Schedules, block lists, noise and checks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Time;

use super::World;
use super::flows::take;
use super::names::atoms;
use crate::decode::At;
use crate::draft::{CheckDraft, Document, ScheduleDraft};
use crate::faults::{Faults, Span};
use crate::model::{Blocklist, Check, Expect, Name, Schedule, ServiceAtom, Window, Zone, ZoneName};
use crate::text::Syntax;
use crate::text::service::ServiceText;

/// Checks: each is compared with every flow.
const MAX_CHECKS: usize = 1_000;

/// What every network has of chatter that nobody reads in a log.
const NOISE: [&str; 3] = ["netbios", "ssdp", "mdns"];

pub(super) fn schedules(document: &Document, faults: &mut Faults) -> BTreeMap<Name, Schedule> {
    let drafts = document.schedule.iter().flat_map(|s| s.iter());
    let mut out: BTreeMap<_, _> =
        drafts.map(|(name, draft)| (Name::new(&name.value), schedule(draft, name, faults))).collect();
    let broken = document.schedule.iter().flat_map(|s| &s.broken);
    out.extend(broken.map(|name| (Name::new(name), Schedule { windows: Vec::new() })));
    out
}

fn schedule(draft: &ScheduleDraft, name: &At<String>, faults: &mut Faults) -> Schedule {
    if draft.days.is_none() && draft.hours.is_none() && !draft.broken {
        faults
            .error(
                "missing-key",
                &draft.span,
                format!("the schedule `{}` says neither days nor hours", name.value),
            )
            .hint("for example days = [\"mon-fri\"], hours = [\"08:00-18:00\"]");
    }
    let days: BTreeSet<u8> = match &draft.days {
        Some(list) => list.items.iter().flat_map(|d| d.value.0.iter().copied()).collect(),
        None => (0..7).collect(),
    };
    let whole_day = (Time::midnight(), Time::midnight());
    let hours: Vec<_> = match &draft.hours {
        Some(list) => list.items.iter().map(|h| (h.value.start, h.value.end)).collect(),
        None => vec![whole_day],
    };
    let windows = hours.into_iter().map(|(start, end)| Window { days: days.clone(), start, end }).collect();
    Schedule { windows }
}

pub(super) fn blocklists(
    document: &Document,
    zones: &BTreeMap<ZoneName, Zone>,
    faults: &mut Faults,
) -> BTreeMap<Name, Blocklist> {
    let mut out = BTreeMap::new();
    for (name, draft) in document.blocklist.iter().flat_map(|b| b.iter()) {
        let mut applies = BTreeSet::new();
        match &draft.zones {
            None => applies.extend(zones.iter().filter(|(_, z)| z.external).map(|(name, _)| name.clone())),
            Some(list) => {
                for zone in &list.items {
                    match zones.get_key_value(zone.value.0.as_str()) {
                        Some((known, _)) if !known.is_firewall() => drop(applies.insert(known.clone())),
                        Some(_) => {
                            faults
                                .error(
                                    "reserved-name",
                                    &zone.span,
                                    "nothing arrives from the firewall itself",
                                )
                                .hint("name zones with interfaces");
                        }
                        None => {
                            let message = format!("there is no zone `{}`", zone.value.0);
                            faults
                                .error("unknown-zone", &zone.span, message)
                                .suggest(&zone.value.0, zones.keys().map(ZoneName::as_str));
                        }
                    }
                }
            }
        }
        if let (None, true) = (&draft.zones, applies.is_empty()) {
            faults
                .warning(
                    "unused-blocklist",
                    &name.span,
                    format!("the block list `{}` applies nowhere", name.value),
                )
                .hint("there is no external zone: say `zones = [...]`");
        }
        if let Some(file) = &draft.file {
            let log = draft.log.as_ref().is_some_and(|l| l.value);
            out.insert(Name::new(&name.value), Blocklist { file: file.value.0.clone(), zones: applies, log });
        }
    }
    out
}

impl World<'_> {
    pub(super) fn noise(&mut self, document: &Document, faults: &mut Faults) -> Vec<ServiceAtom> {
        let given = document.policy.as_ref().and_then(|p| p.noise.as_ref());
        let default: Vec<At<ServiceText>> = NOISE
            .iter()
            .filter_map(|name| ServiceText::parse(name).ok())
            .map(|value| At { value, span: 0..0 })
            .collect();
        let list = given.map_or(&default[..], |n| &n.items);
        atoms(list, true, &self.services, &mut self.budget, faults).unwrap_or_default()
    }

    pub(super) fn checks(&mut self, document: &Document, faults: &mut Faults) -> Vec<Check> {
        let drafts = take(document.check.as_ref(), MAX_CHECKS, "checks", faults);
        let mut names: BTreeMap<&str, &Span> = BTreeMap::new();
        let mut out = Vec::new();
        for At { value: draft, .. } in drafts {
            if let Some(name) = &draft.name
                && let Some(other) = names.insert(&name.value.0, &name.span)
            {
                faults
                    .error("duplicate-name", &name.span, "two checks have the same name")
                    .related(other, "the first one");
            }
            out.extend(self.check(draft, faults));
        }
        out
    }

    fn check(&mut self, draft: &CheckDraft, faults: &mut Faults) -> Option<Check> {
        let from = draft.from.as_ref().and_then(|e| self.endpoints(e, faults));
        let to = draft.to.as_ref().and_then(|e| self.endpoints(e, faults));
        let (expect, list) = match (&draft.never, &draft.always) {
            (Some(list), None) => (Expect::Never, list),
            (None, Some(list)) => (Expect::Always, list),
            (Some(never), Some(always)) => {
                faults
                    .error("one-assertion", &always.span, "a check says `never` or `always`, not both")
                    .related(&never.span, "the first one")
                    .hint("write two checks");
                return None;
            }
            (None, None) => {
                if !draft.broken {
                    faults
                        .error("one-assertion", &draft.span, "the check asserts nothing")
                        .hint("add `never = [...]` or `always = [...]`");
                }
                return None;
            }
        };
        let services = atoms(&list.items, list.whole, &self.services, &mut self.budget, faults);
        let except = match &draft.except {
            Some(list) => atoms(&list.items, list.whole, &self.services, &mut self.budget, faults),
            None => Some(Vec::new()),
        };
        let (from, to, services) = (from?, to?, services?);
        if from.is_empty() || to.is_empty() {
            return None;
        }
        self.check_sides(&from, &to, (draft.from.as_ref()?, draft.to.as_ref()?), &services, list, faults);
        Some(Check {
            name: draft.name.as_ref()?.value.0.clone(),
            line: self.lines.line(draft.span.start),
            from,
            to,
            services,
            except: except?,
            expect,
        })
    }
}
