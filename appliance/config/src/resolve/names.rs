//! `[host]` and `[service]`: names that contain names. Each is resolved once, however many refer to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue;
use crate::decode::{At, Many, Named};
use crate::draft::Document;
use crate::faults::{Faults, Span};
use crate::limits::{MAX_ELEMENTS, MAX_NAMES, MAX_NESTING};
use crate::model::{Fqdn, HostSet, Name, ServiceAtom};
use crate::space::{AddressSet, Set};
use crate::text::address::HostElement;
use crate::text::service::{Meaning, RESERVED, ServiceText};

/// What names stand for. `None` is a name whose definition has a fault, which is reported there.
pub(super) struct Book<T>(BTreeMap<Name, Option<T>>);

impl<T> Book<T> {
    pub fn get(&self, name: &str) -> Option<&Option<T>> {
        self.0.get(name)
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Name::as_str)
    }
    pub fn into_known(self) -> BTreeMap<Name, T> {
        self.0.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// What is left of [`MAX_ELEMENTS`]. Charged before anything is copied.
pub(super) struct Budget(Option<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Some(MAX_ELEMENTS))
    }
}

impl Budget {
    /// Takes `count`; reports once that there is no more.
    pub fn charge(&mut self, count: usize, span: &Span, faults: &mut Faults) -> bool {
        let Some(left) = self.0 else { return false };
        self.0 = left.checked_sub(count);
        if self.0.is_none() {
            faults
                .error("too-large", span, "the names of this document stand for too many addresses and ports")
                .hint(format!("at most {MAX_ELEMENTS} in all; a [blocklist] takes long lists"));
        }
        self.0.is_some()
    }
}

/// An element: a value of its own, or the name of another one.
enum Part<T> {
    Own(T),
    Other(String),
}

/// What hosts and services have in common.
trait Nests: Clone {
    type Element;
    const WHAT: &'static str;
    const UNKNOWN: &'static str;
    fn part(element: &Self::Element) -> Part<Self>;
    fn join(parts: Vec<&Self>) -> Self;
    fn size(&self) -> usize;
    /// A value that needs no definition.
    fn built_in(_: &str) -> Option<Self> {
        None
    }
    fn built_in_names() -> Vec<&'static str> {
        Vec::new()
    }
}

impl Nests for HostSet {
    type Element = HostElement;
    const WHAT: &'static str = "host";
    const UNKNOWN: &'static str = "unknown-host";

    fn part(element: &HostElement) -> Part<Self> {
        match element {
            HostElement::Fixed(set) => Part::Own(HostSet { fixed: set.clone(), ..HostSet::default() }),
            HostElement::Fqdn(name) => {
                Part::Own(HostSet { names: BTreeSet::from([Fqdn::new(name)]), ..HostSet::default() })
            }
            HostElement::Name(name) => Part::Other(name.clone()),
        }
    }
    fn join(parts: Vec<&Self>) -> Self {
        HostSet {
            fixed: AddressSet::union_of(parts.iter().map(|p| &p.fixed)),
            names: parts.iter().flat_map(|p| p.names.iter().cloned()).collect(),
            ..HostSet::default()
        }
    }
    fn size(&self) -> usize {
        1 + self.fixed.v4.intervals().len() + self.fixed.v6.intervals().len() + self.names.len()
    }
}

impl Nests for Vec<ServiceAtom> {
    type Element = ServiceText;
    const WHAT: &'static str = "service";
    const UNKNOWN: &'static str = "unknown-service";

    fn part(element: &ServiceText) -> Part<Self> {
        match &element.meaning {
            Meaning::Atom(atom) => Part::Own(vec![atom.clone()]),
            Meaning::Name(name) => Part::Other(name.clone()),
        }
    }
    fn join(parts: Vec<&Self>) -> Self {
        merge(parts.into_iter().flatten())
    }
    fn size(&self) -> usize {
        self.iter().map(atom_size).sum()
    }
    fn built_in(name: &str) -> Option<Self> {
        let elements = catalogue::find(name)?;
        let parts: Vec<Self> = elements
            .iter()
            .filter_map(|e| match Meaning::parse(e).ok()? {
                Meaning::Atom(atom) => Some(vec![atom]),
                // A test of the catalogue shows that its names end.
                Meaning::Name(name) => Self::built_in(&name),
            })
            .collect();
        Some(Self::join(parts.iter().collect()))
    }
    fn built_in_names() -> Vec<&'static str> {
        catalogue::services().map(|s| s.name).collect()
    }
}

fn atom_size(atom: &ServiceAtom) -> usize {
    match atom {
        ServiceAtom::Any | ServiceAtom::Protocol(_) => 1,
        ServiceAtom::Ports { ports, .. } => ports.intervals().len(),
        ServiceAtom::Icmp(types) | ServiceAtom::Icmp6(types) => types.intervals().len(),
    }
}

/// One atom for each protocol, sorted; `any` swallows the others. Gathers before it sorts, so that long lists
/// stay cheap.
fn merge<'a>(atoms: impl Iterator<Item = &'a ServiceAtom>) -> Vec<ServiceAtom> {
    let mut ports: BTreeMap<u8, Vec<_>> = BTreeMap::new();
    let (mut icmp, mut icmp6, mut other) = (Vec::new(), Vec::new(), BTreeSet::new());
    for atom in atoms {
        match atom {
            ServiceAtom::Any => return vec![ServiceAtom::Any],
            ServiceAtom::Ports { protocol, ports: set } => {
                ports.entry(*protocol).or_default().extend_from_slice(set.intervals());
            }
            ServiceAtom::Icmp(types) => icmp.extend_from_slice(types.intervals()),
            ServiceAtom::Icmp6(types) => icmp6.extend_from_slice(types.intervals()),
            ServiceAtom::Protocol(number) => {
                other.insert(*number);
            }
        }
    }
    let mut out: Vec<_> = ports
        .into_iter()
        .map(|(protocol, list)| ServiceAtom::Ports { protocol, ports: list.into_iter().collect() })
        .collect();
    let types = |list: Vec<_>| Some(list.into_iter().collect()).filter(|set: &Set<u8>| !set.is_empty());
    out.extend(types(icmp).map(ServiceAtom::Icmp));
    out.extend(types(icmp6).map(ServiceAtom::Icmp6));
    out.extend(other.into_iter().map(ServiceAtom::Protocol));
    out
}

/// Resolves `[host]`.
pub(super) fn hosts(document: &Document, budget: &mut Budget, faults: &mut Faults) -> Book<HostSet> {
    resolve(document.host.as_ref(), &["any"], budget, faults)
}

/// Resolves `[service]`; built-in services that the document does not define are added as they are used.
pub(super) fn services(
    document: &Document,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Book<Vec<ServiceAtom>> {
    resolve(document.service.as_ref(), &RESERVED, budget, faults)
}

/// Replaces a list of services by what it stands for. `None` when a fault was found, here or in a name.
pub(super) fn atoms(
    list: &[At<ServiceText>],
    mut whole: bool,
    book: &Book<Vec<ServiceAtom>>,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Option<Vec<ServiceAtom>> {
    let mut parts = Vec::new();
    for element in list {
        let part = match &element.value.meaning {
            Meaning::Atom(atom) => Some(vec![atom.clone()]),
            Meaning::Name(name) => match book.get(name) {
                Some(known) => {
                    known.as_ref().filter(|k| budget.charge(k.size(), &element.span, faults)).cloned()
                }
                None => {
                    let built_in = Vec::built_in(name);
                    if built_in.is_none() {
                        unknown::<Vec<ServiceAtom>>(name, &element.span, book.names(), faults);
                    }
                    built_in
                }
            },
        };
        whole &= part.is_some();
        parts.extend(part);
    }
    whole.then(|| Vec::join(parts.iter().collect()))
}

/// Reports a name that stands for nothing.
pub(super) fn unknown_host<'a>(
    name: &str,
    span: &Span,
    known: impl Iterator<Item = &'a str>,
    faults: &mut Faults,
) {
    unknown::<HostSet>(name, span, known, faults);
}

fn unknown<'a, T: Nests>(name: &str, span: &Span, known: impl Iterator<Item = &'a str>, faults: &mut Faults) {
    let what = T::WHAT;
    let known = known.chain(T::built_in_names());
    faults.error(T::UNKNOWN, span, format!("there is no {what} `{name}`")).suggest(name, known);
}

fn resolve<T: Nests>(
    drafts: Option<&Named<Many<T::Element>>>,
    reserved: &[&str],
    budget: &mut Budget,
    faults: &mut Faults,
) -> Book<T> {
    let broken = drafts.map_or(&[][..], |d| &d.broken);
    let drafts = drafts.map_or(&[][..], |d| &d.entries);
    if let Some((over, _)) = drafts.get(MAX_NAMES) {
        faults.error("too-large", &over.span, format!("more than {MAX_NAMES} names of {}s", T::WHAT));
    }
    let drafts = &drafts[..drafts.len().min(MAX_NAMES)];
    for (name, _) in drafts {
        if reserved.contains(&name.value.as_str()) {
            let message = format!("`{}` cannot be the name of a {}", name.value, T::WHAT);
            faults.error("reserved-name", &name.span, message).hint("the word has a meaning of its own");
        }
    }
    let index = drafts.iter().enumerate().map(|(at, (name, _))| (name.value.as_str(), at)).collect();
    let broken: BTreeSet<&str> = broken.iter().map(String::as_str).collect();
    let done = vec![State::New; drafts.len()];
    let mut nest = Nest { drafts, index, broken: &broken, done, budget, faults };
    for at in 0..drafts.len() {
        nest.visit(at, &mut Vec::new());
    }
    let names = drafts.iter().map(|(name, _)| Name::new(&name.value));
    let values = nest.done.into_iter().map(|state| match state {
        State::Done(value, _) => Some(value),
        State::New | State::Open | State::Faulty => None,
    });
    let mut book: BTreeMap<_, _> = names.zip(values).collect();
    book.extend(broken.into_iter().map(|name| (Name::new(name), None)));
    Book(book)
}

#[derive(Clone)]
enum State<T> {
    New,
    /// Being resolved: whoever meets it again has found a cycle.
    Open,
    /// With how deep it nests.
    Done(T, usize),
    Faulty,
}

struct Nest<'a, T: Nests> {
    drafts: &'a [(At<String>, Many<T::Element>)],
    index: BTreeMap<&'a str, usize>,
    broken: &'a BTreeSet<&'a str>,
    done: Vec<State<T>>,
    budget: &'a mut Budget,
    faults: &'a mut Faults,
}

impl<T: Nests> Nest<'_, T> {
    /// Resolves one name and what it refers to. Recurses at most [`MAX_NESTING`] deep.
    fn visit(&mut self, at: usize, path: &mut Vec<usize>) {
        if !matches!(self.done[at], State::New) {
            return;
        }
        self.done[at] = State::Open;
        path.push(at);
        let (mut own, mut others, mut height) = (Vec::new(), Vec::new(), 1);
        let mut faulty = !self.drafts[at].1.whole;
        for element in &self.drafts[at].1.items {
            match T::part(&element.value) {
                Part::Own(value) => own.push(value),
                Part::Other(name) => match self.other(&name, &element.span, path) {
                    Other::Name(index, depth) => {
                        height = height.max(depth + 1);
                        others.push(index);
                    }
                    Other::BuiltIn(value) => own.push(value),
                    Other::Faulty => faulty = true,
                },
            }
        }
        path.pop();
        let (name, list) = &self.drafts[at];
        if height > MAX_NESTING {
            self.too_deep(&list.span);
            faulty = true;
        }
        let parts = |done: &[State<T>]| -> usize {
            let size = |i: &usize| if let State::Done(value, _) = &done[*i] { value.size() } else { 0 };
            others.iter().map(size).sum()
        };
        let total = own.iter().map(T::size).sum::<usize>() + parts(&self.done);
        let fits = !faulty && self.budget.charge(total, &name.span, self.faults);
        self.done[at] = if fits {
            let known = others.iter().filter_map(|i| match &self.done[*i] {
                State::Done(value, _) => Some(value),
                State::New | State::Open | State::Faulty => None,
            });
            State::Done(T::join(own.iter().chain(known).collect()), height)
        } else {
            State::Faulty
        };
    }

    fn other(&mut self, name: &str, span: &Span, path: &mut Vec<usize>) -> Other<T> {
        if self.broken.contains(name) {
            return Other::Faulty;
        }
        let Some(index) = self.index.get(name).copied() else {
            let Some(value) = T::built_in(name) else {
                unknown::<T>(name, span, self.index.keys().copied(), self.faults);
                return Other::Faulty;
            };
            return Other::BuiltIn(value);
        };
        if matches!(self.done[index], State::Open) {
            self.cycle(index, span, path);
            return Other::Faulty;
        }
        if matches!(self.done[index], State::New) && path.len() >= MAX_NESTING {
            self.too_deep(span);
            return Other::Faulty;
        }
        self.visit(index, path);
        match &self.done[index] {
            State::Done(_, depth) => Other::Name(index, *depth),
            State::New | State::Open | State::Faulty => Other::Faulty,
        }
    }

    fn cycle(&mut self, start: usize, span: &Span, path: &[usize]) {
        let circle = path.iter().skip_while(|at| **at != start).chain([&start]);
        let names: Vec<_> = circle.map(|at| self.drafts[*at].0.value.as_str()).collect();
        self.faults
            .error("name-cycle", span, format!("{} `{}` contains itself", T::WHAT, names[0]))
            .label(names.join(" → "))
            .related(&self.drafts[start].0.span, "defined here");
    }

    fn too_deep(&mut self, span: &Span) {
        let message = format!("{}s nest more than {MAX_NESTING} deep", T::WHAT);
        self.faults.error("too-deep", span, message);
    }
}

enum Other<T> {
    Name(usize, usize),
    BuiltIn(T),
    Faulty,
}
