//! The ruleset as a value: what our table holds, how it is written as an nft script, and how the script for
//! going from one ruleset to another is found.
//!
//! Every script is one transaction. All rules are flushed and written again (they are few: the policy is in
//! maps), so the table is replaced whole; the contents of maps, which are large, travel as the difference.
//! Named counters and dynamic sets with the limits in them that stay are not touched and keep their values.
//!
//! Written as a script of our own and not through the JSON types of the crate `nftables`: those cannot
//! express verdict maps, and the text is read by nft in half the time and a third of the memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
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
    /// Elements: key to value (empty for a set) and what they are there for.
    Elements(BTreeMap<String, (String, Origin)>),
    /// A large set of addresses, of one family.
    Addresses(Arc<AddressSet>, Family),
    /// Filled by the kernel as packets pass; never touched while it stays.
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
            (name, &map.kind, &map.options).hash(&mut hasher);
            match &map.content {
                Content::Elements(elements) => {
                    elements.iter().for_each(|(k, (v, _))| (k, v).hash(&mut hasher));
                }
                Content::Addresses(set, family) => (set, family).hash(&mut hasher),
                Content::Dynamic => {}
            }
        }
        format!("{STAMP}{:016x}", hasher.finish())
    }

    /// The transaction that makes the kernel hold this ruleset instead of `base`.
    ///
    /// A packet that passes just then may see some maps as before and others as after; see [`Ruleset::steps`].
    pub fn script(&self, base: Base<'_>) -> Script {
        match base {
            Base::Nothing => self.transaction(&Names::default(), &Maps::new()),
            Base::Names(names) => self.transaction(names, &Maps::new()),
            Base::Ruleset(old) => self.transaction(&old.names(), &by_name(&old.maps).collect()),
        }
    }

    /// The transactions, one after the other, that make the kernel hold this ruleset instead of `base` such that
    /// each packet is judged by the one or by the other: mostly a single one.
    ///
    /// The kernel brings all rules into force at one instant, but interval maps of several fields one by one, each a
    /// little later (`nft_pipapo_commit`). So a chain that looks up two maps of which both change, or whose rules
    /// change with a map, would judge some packets by a policy that never was. The rules are led over copies then:
    ///
    /// 1. copies are made and filled, which nothing refers to yet;
    /// 2. the rules change over to the copies;
    /// 3. the maps themselves are made and filled, which nothing refers to now;
    /// 4. the rules change back, and the copies go.
    pub fn steps(&self, base: Base<'_>) -> Vec<Script> {
        let (names, known): (Names, Maps<'_>) = match base {
            Base::Nothing => return vec![self.script(base)],
            Base::Names(names) => (names.clone(), Maps::new()),
            Base::Ruleset(old) => (old.names(), by_name(&old.maps).collect()),
        };
        let old_chains = match base {
            Base::Ruleset(old) => Some(&old.chains),
            Base::Names(_) | Base::Nothing => None,
        };
        let torn = self.torn(old_chains, &known);
        if torn.is_empty() {
            return vec![self.script(base)];
        }
        let copy = |name: &str| format!("{name}{COPY}");
        let copies: BTreeMap<String, Map> =
            torn.iter().filter_map(|n| Some((copy(n), self.maps.get(*n)?.clone()))).collect();
        let mut over = self.clone();
        over.maps.retain(|name, _| !torn.contains(name.as_str()));
        over.maps.extend(copies.clone());
        for (rule, _) in over.chains.values_mut().flat_map(|c| &mut c.rules) {
            if let Some((name, end)) = lookup(rule).filter(|(name, _)| torn.contains(name)) {
                let name = copy(name);
                rule.replace_range(end - (name.len() - COPY.len())..end, &name);
            }
        }
        // What the verdicts in maps lead to must be there before them.
        let new_chains: Vec<&String> =
            self.chains.iter().filter(|(n, c)| c.base.is_none() && !names.chains.contains(*n)).map(|(n, _)| n).collect();
        let first = fill(&new_chains, copies.iter());
        let mut with_copies = names;
        with_copies.maps.extend(copies.keys().cloned());
        with_copies.chains.extend(new_chains.into_iter().cloned());
        let mut known_with_copies = known;
        known_with_copies.extend(by_name(&copies));
        let second = over.transaction(&with_copies, &known_with_copies);
        let third = fill(&[], self.maps.iter().filter(|(n, _)| torn.contains(n.as_str())));
        let mut both = over.names();
        both.maps.extend(torn.iter().map(|n| (*n).to_owned()));
        let known: Maps<'_> = by_name(&over.maps).chain(by_name(&self.maps)).collect();
        vec![first, second, third, self.transaction(&both, &known)]
    }

    /// The maps of those chains that would be torn between before and after.
    fn torn(&self, old_chains: Option<&BTreeMap<String, Chain>>, known: &Maps<'_>) -> BTreeSet<&str> {
        let mut torn = BTreeSet::new();
        for (name, chain) in &self.chains {
            let maps: BTreeSet<&str> = chain.rules.iter().filter_map(|(r, _)| lookup(r)).map(|(n, _)| n).collect();
            let late = maps.into_iter().filter(|n| self.maps.get(*n).is_some_and(Map::is_late));
            let late: Vec<&str> = late.collect();
            let changed = late.iter().filter(|n| known.get(*n).is_none_or(|old| !self.maps[**n].is_like(old))).count();
            // A chain that is new is not looked at before it is whole: its maps count as changed.
            let same_rules = old_chains.and_then(|c| c.get(name)).is_some_and(|old| {
                old.rules.iter().map(|(r, _)| r).eq(chain.rules.iter().map(|(r, _)| r))
            });
            if changed > 1 || (changed == 1 && !same_rules) {
                torn.extend(late);
            }
        }
        torn
    }

    fn transaction(&self, names: &Names, known: &Maps<'_>) -> Script {
        let mut s = Script::default();
        let stamp = self.stamp();
        line!(s, "add table inet {TABLE}");
        line!(s, "flush table inet {TABLE}");
        let old_map = |name: &str| known.get(name).copied();

        // First what refers to chains and counters goes, then these.
        for name in names.maps.iter().chain(&names.sets) {
            let keep = match (self.maps.get(name), old_map(name)) {
                (Some(new), Some(old)) => new.kind == old.kind && new.options == old.options,
                (Some(new), None) => matches!(new.content, Content::Dynamic),
                (None, _) => false,
            };
            if !keep {
                let keyword = if names.sets.contains(name) { "set" } else { "map" };
                line!(s, "delete {keyword} inet {TABLE} {name}");
            } else if let (Some(new), old @ Some(_)) = (self.maps.get(name), old_map(name)) {
                match new.delta(old) {
                    Delta::Nothing | Delta::Refill { flush: false } => {}
                    Delta::Refill { flush: true } => line!(s, "flush {} inet {TABLE} {name}", new.keyword()),
                    Delta::Elements { gone, .. } => write_elements(&mut s, "delete", name, gone),
                }
            }
        }
        for name in names.chains.iter().filter(|c| !self.chains.contains_key(*c) && **c != stamp) {
            line!(s, "delete chain inet {TABLE} {name}");
        }
        for name in names.counters.difference(&self.counters) {
            line!(s, "delete counter inet {TABLE} {name}");
        }
        for name in names.helpers.iter().filter(|h| !self.helpers.contains_key(*h)) {
            line!(s, "delete ct helper inet {TABLE} {name}");
        }

        self.write_table(&mut s, names, &stamp);
        for (name, map) in &self.maps {
            let old = old_map(name).filter(|o| o.kind == map.kind && o.options == map.options);
            match (map.delta(old), &map.content) {
                (Delta::Nothing, _) | (Delta::Refill { .. }, Content::Dynamic) => {}
                (Delta::Elements { fresh, .. }, _) => write_elements(&mut s, "add", name, fresh),
                (Delta::Refill { .. }, Content::Elements(_) | Content::Addresses(..)) => map.write_all(&mut s, name),
            }
        }
        s
    }

    fn write_table(&self, s: &mut Script, names: &Names, stamp: &str) {
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
        line!(s, " chain {stamp} {{ }}");
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

/// Maps whose content is known, by name.
type Maps<'a> = BTreeMap<&'a str, &'a Map>;

fn by_name(maps: &BTreeMap<String, Map>) -> impl Iterator<Item = (&str, &Map)> {
    maps.iter().map(|(name, map)| (name.as_str(), map))
}

/// What the name of the copy of a map ends with.
const COPY: &str = ".copy";

/// The map or set that a rule looks up, and where its name ends in the rule. No rule looks up two.
fn lookup(rule: &str) -> Option<(&str, usize)> {
    let start = rule.find('@')? + 1;
    let length = rule[start..].find(' ').unwrap_or(rule.len() - start);
    Some((&rule[start..start + length], start + length))
}

/// Makes maps that nothing refers to, filled, and empty chains that they lead to.
fn fill<'a>(chains: &[&String], maps: impl Iterator<Item = (&'a String, &'a Map)> + Clone) -> Script {
    let mut s = Script::default();
    line!(s, "table inet {TABLE} {{");
    for chain in chains {
        line!(s, " chain {chain} {{ }}");
    }
    for (name, map) in maps.clone() {
        line!(s, " {} {name} {{ type {}; {} }}", map.keyword(), map.kind, map.options);
    }
    line!(s, "}}");
    for (name, map) in maps {
        map.write_all(&mut s, name);
    }
    s
}

type Element<'a> = (&'a String, &'a (String, Origin));

/// How a map gets from what it holds to what it should hold.
enum Delta<'a> {
    /// It already holds it.
    Nothing,
    /// Element by element.
    Elements { gone: Vec<Element<'a>>, fresh: Vec<Element<'a>> },
    /// From empty; what it held is flushed first.
    Refill { flush: bool },
}

impl Map {
    /// Whether the kernel brings its changes into force later than those of the rules.
    fn is_late(&self) -> bool {
        self.kind.split(" : ").next().is_some_and(|key| key.contains(" . ")) && self.options.contains("interval")
    }

    /// Whether nothing has to travel to make it of `old`.
    fn is_like(&self, old: &Map) -> bool {
        self.kind == old.kind && self.options == old.options && matches!(self.delta(Some(old)), Delta::Nothing)
    }

    fn write_all(&self, s: &mut Script, name: &str) {
        match &self.content {
            Content::Elements(all) => write_elements(s, "add", name, all),
            Content::Addresses(set, family) => write_addresses(s, name, set, *family),
            Content::Dynamic => {}
        }
    }

    fn delta<'a>(&'a self, old: Option<&'a Map>) -> Delta<'a> {
        match (&self.content, old.map(|o| &o.content)) {
            (Content::Dynamic, Some(Content::Dynamic) | None) => Delta::Nothing,
            (Content::Elements(new), Some(Content::Elements(old))) => {
                let gone: Vec<_> =
                    old.iter().filter(|(k, v)| new.get(*k).is_none_or(|n| n.0 != v.0)).collect();
                let fresh: Vec<_> =
                    new.iter().filter(|(k, v)| old.get(*k).is_none_or(|o| o.0 != v.0)).collect();
                if gone.is_empty() && fresh.is_empty() {
                    Delta::Nothing
                } else if gone.len() * 4 > old.len() {
                    Delta::Refill { flush: true }
                } else {
                    Delta::Elements { gone, fresh }
                }
            }
            (Content::Addresses(new, f), Some(Content::Addresses(old, g))) if f == g && new == old => {
                Delta::Nothing
            }
            (_, old) => Delta::Refill { flush: old.is_some() },
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
