//! The ruleset as a value: what our table holds, how it is written as an nft script, and how the script for
//! going from one ruleset to another is found.
//!
//! A change takes up to three transactions, of which the second is the change:
//!
//! 1. maps that are new are made and filled; nothing refers to them yet;
//! 2. all rules are flushed and written again (they are few: the policy is in maps), at one instant;
//! 3. what nothing refers to any more is removed.
//!
//! The kernel brings the rules into force at one instant, but interval maps one by one and a little later
//! (`nft_pipapo_commit`), and a packet that is under way in the old rules looks into maps as they are by then. So a
//! map that is part of the policy never changes: its name ends with the hash of its content, and another content is
//! another map. Names alone therefore tell what the kernel holds, also to a daemon that has just been started. Only
//! signposts ([`Content::Index`]) travel as the difference. Named counters and dynamic sets with the limits in them
//! are not touched while they stay.
//!
//! Written as a script of our own and not through the JSON types of the crate `nftables`: those cannot
//! express verdict maps, and the text is read by nft in half the time and a third of the memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use rempart_config::space::{AddressSet, Family};

/// The name of our table, in family `inet`.
pub const TABLE: &str = "rempart";

/// What a piece of the ruleset is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Origin {
    /// A flow, by its index in the model.
    Flow(usize),
    /// An outbound rule, by its index in the model.
    SourceNat(usize),
    /// A one-to-one translation, by its index in the model.
    OneToOne(usize),
    /// The frame that every policy has.
    Frame,
}

/// What our table holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ruleset {
    /// The chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// The maps and sets by name.
    pub maps: BTreeMap<String, Map>,
    /// The named counters.
    pub counters: BTreeSet<String>,
    /// The connection-tracking helper objects: name to body.
    pub helpers: BTreeMap<String, String>,
}

/// A chain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// `type … hook … priority …; policy …;` of a base chain.
    pub base: Option<String>,
    /// Its rules.
    pub rules: Vec<(String, Origin)>,
}

impl Chain {
    /// A base chain without rules.
    pub fn hooked(base: &str) -> Self {
        Self { base: Some(base.into()), rules: Vec::new() }
    }
    /// Appends a rule of the frame.
    pub fn rule(&mut self, text: impl Into<String>) -> &mut Self {
        self.rule_of(Origin::Frame, text)
    }
    /// Appends a rule.
    pub fn rule_of(&mut self, origin: Origin, text: impl Into<String>) -> &mut Self {
        self.rules.push((text.into(), origin));
        self
    }
}

/// A map, or a set when it has no value type.
#[derive(Clone, PartialEq, Debug)]
pub struct Map {
    /// `ipv4_addr . inet_service : mark` and the like.
    pub kind: String,
    /// `flags interval; auto-merge; size …;`, may be empty.
    pub options: String,
    /// What it holds.
    pub content: Content,
}

/// The content of a map or set.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Part of the policy: key to value (empty for a set) and what they are there for. Never changed, see the head
    /// of this file.
    Elements(BTreeMap<String, (String, Origin)>),
    /// A large set of addresses, of one family. Never changed either.
    Addresses(Arc<AddressSet>, Family),
    /// Signposts in a hash map, to chains and counters, which change in place: a packet that is under way while one
    /// changes is counted late or refused, and never let through.
    Index(BTreeMap<String, (String, Origin)>),
    /// Filled by others, by the kernel as packets pass or by `rempart-vpn` as clients come and go; made empty, and
    /// never touched while it stays.
    Dynamic,
}

impl Map {
    fn is_set(&self) -> bool {
        !self.kind.contains(" : ")
    }
    fn keyword(&self) -> &'static str {
        if self.is_set() { "set" } else { "map" }
    }
}

/// What the kernel's table holds, by name, as far as a transaction has to know it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Chains.
    pub chains: BTreeSet<String>,
    /// Maps.
    pub maps: BTreeSet<String>,
    /// Sets.
    pub sets: BTreeSet<String>,
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Helper objects.
    pub helpers: BTreeSet<String>,
}

/// Where a transaction starts from.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// No table of ours.
    Nothing,
    /// A table of which only the names are known, as after a restart of the daemon.
    Names(&'a Names),
    /// Exactly this ruleset.
    Ruleset(&'a Ruleset),
}

/// A transaction.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// For `nft -f -`.
    pub text: String,
    /// What each line is there for, from line 1.
    pub origins: Vec<Origin>,
}

impl Script {
    fn line(&mut self, origin: Origin, text: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(text);
        self.text.push('\n');
        self.origins.push(origin);
    }

    /// What the line with this number, from 1, is there for.
    pub fn origin(&self, line: usize) -> Option<Origin> {
        line.checked_sub(1).and_then(|l| self.origins.get(l)).copied()
    }
}

/// The transactions of a change.
#[derive(Clone, Debug)]
pub struct Scripts {
    /// One after the other.
    pub list: Vec<Script>,
    /// The one that brings the new ruleset into force; what comes after only clears up.
    pub change: usize,
}

macro_rules! line {
    ($script:expr, $($arg:tt)*) => { $script.line(Origin::Frame, format_args!($($arg)*)) };
}

/// The chain, empty, whose name says which ruleset the kernel holds. It comes and goes in the transaction.
pub const STAMP: &str = "stamp.";

impl Ruleset {
    /// The name of the chain that marks this ruleset in the kernel.
    pub fn stamp(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.counters.hash(&mut hasher);
        self.helpers.hash(&mut hasher);
        for (name, chain) in &self.chains {
            (name, &chain.base).hash(&mut hasher);
            for (rule, _) in &chain.rules {
                rule.hash(&mut hasher);
            }
        }
        for (name, map) in &self.maps {
            // The name of a map of the policy says what it holds.
            name.hash(&mut hasher);
            if !map.is_fixed() {
                map.fingerprint().hash(&mut hasher);
            }
        }
        format!("{STAMP}{:016x}", hasher.finish())
    }

    /// This ruleset with the content of each map of the policy in its name, in the rules too.
    pub fn sealed(mut self) -> Self {
        let (fixed, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.maps).into_iter().partition(|(_, map)| map.is_fixed());
        let names: BTreeMap<String, String> = fixed
            .iter()
            .map(|(name, map)| (name.clone(), format!("{name}.{:016x}", map.fingerprint())))
            .collect();
        for (rule, _) in self.chains.values_mut().flat_map(|c| &mut c.rules) {
            if let Some(place) = lookup(rule)
                && let Some(name) = names.get(&rule[place.clone()])
            {
                rule.replace_range(place, name);
            }
        }
        self.maps = plain;
        self.maps.extend(fixed.into_iter().map(|(name, map)| (names[&name].clone(), map)));
        self
    }

    /// The one transaction that makes the kernel hold this ruleset where there is no table of ours.
    pub fn script(&self) -> Script {
        let mut s = Script::default();
        line!(s, "add table inet {TABLE}");
        self.write_table(&mut s, &Names::default());
        for (name, map) in &self.maps {
            map.write_all(&mut s, name);
        }
        s
    }

    /// The transactions, one after the other, that make the kernel hold this ruleset instead of `base`. Until the
    /// one at [`Scripts::change`] every packet is judged by the old ruleset, and from it on by this one.
    pub fn scripts(&self, base: Base<'_>) -> Scripts {
        let names = match base {
            Base::Nothing => return Scripts { list: vec![self.script()], change: 0 },
            Base::Names(names) => names.clone(),
            Base::Ruleset(old) => old.names(),
        };
        let old = match base {
            Base::Ruleset(old) => Some(&old.maps),
            Base::Names(_) | Base::Nothing => None,
        };
        let mut list: Vec<Script> = self.prepare(&names).into_iter().collect();
        let change = list.len();
        list.push(self.change(&names, old));
        list.extend(self.clear_up(&names));
        Scripts { list, change }
    }

    /// The one transaction that deletes our table, whatever is in it, and makes it anew.
    pub fn replacement(&self) -> Scripts {
        let mut s = Script::default();
        line!(s, "delete table inet {TABLE}");
        let whole = self.script();
        s.text.push_str(&whole.text);
        s.origins.extend(whole.origins);
        Scripts { list: vec![s], change: 0 }
    }

    /// Makes and fills the maps of the policy that the kernel does not have, and the chains that they lead to.
    fn prepare(&self, names: &Names) -> Option<Script> {
        let known = |name: &str| names.maps.contains(name) || names.sets.contains(name);
        let fresh: Vec<_> = self.maps.iter().filter(|(n, m)| m.is_fixed() && !known(n)).collect();
        if fresh.is_empty() {
            return None;
        }
        let mut s = Script::default();
        line!(s, "table inet {TABLE} {{");
        for chain in self.chains.iter().filter(|(n, c)| c.base.is_none() && !names.chains.contains(*n)) {
            line!(s, " chain {} {{ }}", chain.0);
        }
        for (name, map) in &fresh {
            line!(s, " {} {name} {{ type {}; {} }}", map.keyword(), map.kind, map.options);
        }
        line!(s, "}}");
        fresh.iter().for_each(|(name, map)| map.write_all(&mut s, name));
        Some(s)
    }

    /// Writes all rules again, and what has changed of the signposts.
    fn change(&self, names: &Names, old: Option<&BTreeMap<String, Map>>) -> Script {
        let mut s = Script::default();
        line!(s, "flush table inet {TABLE}");
        for stamp in names.chains.iter().filter(|c| c.starts_with(STAMP)) {
            line!(s, "delete chain inet {TABLE} {stamp}");
        }
        let held = |name: &String| match old.and_then(|o| o.get(name)) {
            Some(map) => Held::This(map),
            None if names.maps.contains(name) || names.sets.contains(name) => Held::Unknown,
            None => Held::Nothing,
        };
        let deltas: Vec<_> = self
            .maps
            .iter()
            .filter(|(_, map)| !map.is_fixed())
            .map(|(name, map)| (name, map, map.delta(held(name))))
            .collect();
        for (name, map, delta) in &deltas {
            match delta {
                Delta::Nothing | Delta::Fill => {}
                Delta::Refill => line!(s, "flush {} inet {TABLE} {name}", map.keyword()),
                Delta::Elements { gone, .. } => write_elements(&mut s, "delete", name, gone.iter().copied()),
            }
        }
        self.write_table(&mut s, names);
        for (name, map, delta) in deltas {
            match delta {
                Delta::Nothing => {}
                Delta::Fill | Delta::Refill => map.write_all(&mut s, name),
                Delta::Elements { fresh, .. } => write_elements(&mut s, "add", name, fresh),
            }
        }
        s
    }

    /// Removes what this ruleset does not have, if there is anything.
    pub fn clear_up(&self, names: &Names) -> Option<Script> {
        let mut s = Script::default();
        for (keyword, list) in [("map", &names.maps), ("set", &names.sets)] {
            for name in list.iter().filter(|n| !self.maps.contains_key(*n)) {
                line!(s, "delete {keyword} inet {TABLE} {name}");
            }
        }
        for name in names.chains.iter().filter(|c| !self.chains.contains_key(*c) && !c.starts_with(STAMP)) {
            line!(s, "delete chain inet {TABLE} {name}");
        }
        for name in names.counters.difference(&self.counters) {
            line!(s, "delete counter inet {TABLE} {name}");
        }
        for name in names.helpers.iter().filter(|h| !self.helpers.contains_key(*h)) {
            line!(s, "delete ct helper inet {TABLE} {name}");
        }
        (!s.text.is_empty()).then_some(s)
    }

    fn write_table(&self, s: &mut Script, names: &Names) {
        line!(s, "table inet {TABLE} {{");
        for counter in self.counters.difference(&names.counters) {
            line!(s, " counter {counter} {{ }}");
        }
        for (name, body) in self.helpers.iter().filter(|(n, _)| !names.helpers.contains(*n)) {
            line!(s, " ct helper {name} {{ {body} }}");
        }
        for (name, map) in &self.maps {
            line!(s, " {} {name} {{ type {}; {} }}", map.keyword(), map.kind, map.options);
        }
        line!(s, " chain {} {{ }}", self.stamp());
        for (name, chain) in &self.chains {
            line!(s, " chain {name} {{");
            if let Some(base) = &chain.base {
                line!(s, "  {base}");
            }
            for (rule, origin) in &chain.rules {
                s.line(*origin, format_args!("  {rule}"));
            }
            line!(s, " }}");
        }
        line!(s, "}}");
    }

    /// The names of everything in it, as the kernel would list them.
    pub fn names(&self) -> Names {
        let named = |set: bool| {
            self.maps.iter().filter(move |(_, m)| m.is_set() == set).map(|(n, _)| n.clone()).collect()
        };
        Names {
            chains: self.chains.keys().cloned().chain([self.stamp()]).collect(),
            maps: named(false),
            sets: named(true),
            counters: self.counters.clone(),
            helpers: self.helpers.keys().cloned().collect(),
        }
    }
}

/// The place in a rule of the name of the map or set that it looks up. No rule looks up two.
fn lookup(rule: &str) -> Option<Range<usize>> {
    let start = rule.find('@')? + 1;
    let length = rule[start..].find(' ').unwrap_or(rule.len() - start);
    Some(start..start + length)
}

type Element<'a> = (&'a String, &'a (String, Origin));

/// What the kernel holds under the name of a map of signposts.
enum Held<'a> {
    /// There is none.
    Nothing,
    /// Something.
    Unknown,
    /// This.
    This(&'a Map),
}

/// How a map of signposts gets from what it holds to what it should hold.
enum Delta<'a> {
    /// It already holds it.
    Nothing,
    /// It is empty.
    Fill,
    /// It is emptied and filled.
    Refill,
    /// Element by element.
    Elements { gone: Vec<Element<'a>>, fresh: Vec<Element<'a>> },
}

impl Map {
    /// Whether it is made once and never changed.
    fn is_fixed(&self) -> bool {
        match self.content {
            Content::Elements(_) | Content::Addresses(..) => true,
            Content::Index(_) | Content::Dynamic => false,
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.kind, &self.options).hash(&mut hasher);
        match &self.content {
            Content::Elements(elements) | Content::Index(elements) => {
                elements.iter().for_each(|(k, (v, _))| (k, v).hash(&mut hasher));
            }
            Content::Addresses(set, Family::V4) => set.v4.hash(&mut hasher),
            Content::Addresses(set, Family::V6) => set.v6.hash(&mut hasher),
            Content::Dynamic => {}
        }
        hasher.finish()
    }

    fn write_all(&self, s: &mut Script, name: &str) {
        match &self.content {
            Content::Elements(all) | Content::Index(all) => write_elements(s, "add", name, all),
            Content::Addresses(set, family) => write_addresses(s, name, set, *family),
            Content::Dynamic => {}
        }
    }

    fn delta<'a>(&'a self, held: Held<'a>) -> Delta<'a> {
        match (&self.content, held) {
            (Content::Dynamic, _) => Delta::Nothing,
            (_, Held::Nothing) => Delta::Fill,
            (Content::Index(new), Held::This(Map { content: Content::Index(old), .. })) => {
                let gone: Vec<_> =
                    old.iter().filter(|(k, v)| new.get(*k).is_none_or(|n| n.0 != v.0)).collect();
                let fresh: Vec<_> =
                    new.iter().filter(|(k, v)| old.get(*k).is_none_or(|o| o.0 != v.0)).collect();
                match (gone.is_empty(), fresh.is_empty()) {
                    (true, true) => Delta::Nothing,
                    _ if gone.len() * 4 > old.len() => Delta::Refill,
                    _ => Delta::Elements { gone, fresh },
                }
            }
            (_, Held::Unknown | Held::This(_)) => Delta::Refill,
        }
    }
}

fn write_elements<'a>(
    s: &mut Script,
    verb: &str,
    name: &str,
    elements: impl IntoIterator<Item = Element<'a>>,
) {
    let mut elements = elements.into_iter().peekable();
    if elements.peek().is_none() {
        return;
    }
    line!(s, "{verb} element inet {TABLE} {name} {{");
    for (key, (value, origin)) in elements {
        if value.is_empty() {
            s.line(*origin, format_args!(" {key},"));
        } else {
            s.line(*origin, format_args!(" {key} : {value},"));
        }
    }
    line!(s, "}}");
}

fn write_addresses(s: &mut Script, name: &str, set: &AddressSet, family: Family) {
    if !set.has(family) {
        return;
    }
    line!(s, "add element inet {TABLE} {name} {{");
    match family {
        Family::V4 => {
            for i in set.v4.intervals() {
                line!(s, " {}-{},", Ipv4Addr::from(i.lo), Ipv4Addr::from(i.hi));
            }
        }
        Family::V6 => {
            for i in set.v6.intervals() {
                line!(s, " {}-{},", Ipv6Addr::from(i.lo), Ipv6Addr::from(i.hi));
            }
        }
    }
    line!(s, "}}");
}
