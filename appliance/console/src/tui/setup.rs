//! Owns the set-up of a box that has no document: a few questions, then a document that is shown before it is committed, or a
//! pair that is joined by its code.
//!
//! ```text
//!   Welcome ─n─▶ Password ─▶ Names ─▶ Ports ─▶ Addresses ─▶ Review ─▶ committed
//!           ─j─▶ Password ─▶ Names ─▶ Ports ─▶ Code ─▶ Joining ─▶ the other box's document
//! ```
//!
//! Pure. Esc goes back a step and nothing that was typed is lost; what is wrong is said at its field. What the answers make is in
//! [`document`], whether they can be is in [`check`].

pub mod check;
pub mod document;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rempart_bus::documents::{CheckReport, CommitRequest};
use rempart_bus::setup::{PortStatus, SetupStatus, UNNAMED};

use self::check::Fault;
use super::gate;
use super::model::{Dialog, Effect, Gate, Input, Model};
use super::update::{is_yes, move_cursor, type_into};
use crate::bus::{Failure, Reply, Request};
use crate::words::Tone;
use crate::{offline, tr};

/// How often joining is tried while `rempart-ha` is started with its new name, once a second.
const JOIN_TRIES_MAX: u32 = 20;

/// A page of the set-up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// What it is to become.
    Welcome,
    /// The administrator's password.
    Password,
    /// What the boxes are called.
    Names,
    /// Which port is which.
    Ports,
    /// Who is reached by which address.
    Addresses,
    /// The document.
    Review,
    /// The code that the other box shows.
    Code,
    /// The other box is found and its document awaited.
    Joining,
}

/// What the box is to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A firewall, alone or the first of a pair.
    New,
    /// The second of a pair.
    Join,
}

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// To the Internet.
    Wan,
    /// To the people.
    Lan,
    /// To the servers that the Internet reaches.
    Dmz,
    /// To the other box.
    Sync,
}

/// A field that is typed into.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Field {
    /// The administrator's password.
    Password,
    /// The same again.
    Again,
    /// What this box is called.
    Name,
    /// What the other one is called.
    Other,
    /// Which of the two this one is.
    Place,
    /// Which port is which: no text, but faults.
    Ports,
    /// The address of this box towards the Internet.
    Wan,
    /// That of the other box.
    WanOther,
    /// That of whichever is active.
    WanShared,
    /// The router of the provider.
    Gateway,
    /// The address of this box in the LAN.
    Lan,
    /// That of the other box.
    LanOther,
    /// That of whichever is active.
    LanShared,
    /// The address of this box in the DMZ.
    Dmz,
    /// That of the other box.
    DmzOther,
    /// That of whichever is active.
    DmzShared,
    /// The code that the other box shows.
    Code,
}

/// See the head of the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Setup {
    /// The page.
    pub step: Step,
    /// What the box is to become.
    pub way: Way,
    /// Whether there is a password already.
    pub has_password: bool,
    /// What the box is called now.
    pub node: String,
    /// The ports, as they are now.
    pub ports: Vec<PortStatus>,
    /// When the lamp of a port has changed, in ticks.
    pub moved: BTreeMap<String, u64>,
    /// What each port is for.
    pub roles: BTreeMap<String, Role>,
    /// The port under the cursor.
    pub cursor: usize,
    /// What was typed.
    pub inputs: BTreeMap<Field, Input>,
    /// Which field of the page the keys go to.
    pub focus: usize,
    /// What is wrong, by field.
    pub faults: BTreeMap<Field, Fault>,
    /// Whether a daemon is at it.
    pub waiting: bool,
    /// What it said.
    pub failure: Option<Failure>,
    /// The document, with what was found about it.
    pub review: Option<(String, CheckReport)>,
    /// Lines scrolled off the top of it.
    pub scroll: usize,
    /// How often joining was tried since `rempart-ha` was given its new name.
    pub tries: Option<u32>,
    /// Whether it is to be tried again at the next second.
    pub again: bool,
    /// The other box, once joined.
    pub peer: Option<String>,
}

impl Setup {
    /// At its first page.
    pub fn new(has_password: bool) -> Self {
        Self {
            step: Step::Welcome,
            way: Way::New,
            has_password,
            node: UNNAMED.to_owned(),
            ports: Vec::new(),
            moved: BTreeMap::new(),
            roles: BTreeMap::new(),
            cursor: 0,
            inputs: document::proposals(),
            focus: 0,
            faults: BTreeMap::new(),
            waiting: false,
            failure: None,
            review: None,
            scroll: 0,
            tries: None,
            again: false,
            peer: None,
        }
    }

    /// How the box is now.
    pub fn heard(&mut self, status: &SetupStatus, tick: u64) {
        for port in &status.ports {
            let before = self.ports.iter().find(|p| p.device == port.device);
            if before.is_some_and(|p| p.link != port.link) {
                self.moved.insert(port.device.clone(), tick);
            }
        }
        // A port that is pulled out, as those by USB are, leaves the table.
        self.roles.retain(|device, _| status.ports.iter().any(|port| port.device == *device));
        self.ports.clone_from(&status.ports);
        self.cursor = self.cursor.min(self.ports.len().saturating_sub(1));
        // Set by an answer that did not come in time, or by a verb.
        if status.password && !self.has_password && !self.waiting {
            let next = self.neighbour(true);
            self.has_password = true;
            next.filter(|_| self.step == Step::Password).into_iter().for_each(|step| self.go(step));
        }
        // The box may have its name from a stick or from the lab.
        if self.node != status.node {
            let name = self.inputs.entry(Field::Name).or_default();
            if status.node != UNNAMED && (name.text == self.node || self.node == UNNAMED) {
                name.text.clone_from(&status.node);
            }
            self.node.clone_from(&status.node);
        }
    }

    /// What stands in a field.
    pub fn text(&self, field: Field) -> &str {
        self.inputs.get(&field).map_or("", |input| input.text.trim())
    }

    /// Whether there are to be two boxes.
    pub fn is_pair(&self) -> bool {
        !self.text(Field::Other).is_empty()
    }

    /// The port for this.
    pub fn device(&self, role: Role) -> Option<&str> {
        self.roles.iter().find(|(_, r)| **r == role).map(|(device, _)| device.as_str())
    }

    /// The fields of the page.
    pub fn fields(&self) -> Vec<Field> {
        use Field::*;
        let pair = self.is_pair();
        let dmz = self.device(Role::Dmz).is_some();
        match self.step {
            Step::Welcome | Step::Ports | Step::Review | Step::Joining => Vec::new(),
            Step::Password => vec![Password, Again],
            Step::Names if self.way == Way::Join => vec![Name],
            Step::Names => vec![Name, Other, Place],
            Step::Code => vec![Code],
            Step::Addresses => {
                let dhcp = self.text(Wan).eq_ignore_ascii_case("dhcp");
                let wan: &[Field] = match (pair, dhcp) {
                    (_, true) => &[Wan],
                    (false, false) => &[Wan, Gateway],
                    (true, false) => &[Wan, WanOther, WanShared, Gateway],
                };
                let lan: &[Field] = if pair { &[LanShared, Lan, LanOther] } else { &[Lan] };
                let third: &[Field] = match (dmz, pair) {
                    (false, _) => &[],
                    (true, true) => &[DmzShared, Dmz, DmzOther],
                    (true, false) => &[Dmz],
                };
                [wan, lan, third].concat()
            }
        }
    }

    /// The pages that this way has, in their order.
    pub fn steps(&self) -> Vec<Step> {
        let rest: &[Step] = match self.way {
            Way::New => &[Step::Names, Step::Ports, Step::Addresses, Step::Review],
            Way::Join => &[Step::Names, Step::Ports, Step::Code, Step::Joining],
        };
        let password = (!self.has_password).then_some(Step::Password);
        std::iter::once(Step::Welcome).chain(password).chain(rest.iter().copied()).collect()
    }

    fn go(&mut self, step: Step) {
        (self.step, self.focus, self.scroll) = (step, 0, 0);
        (self.faults, self.failure) = (BTreeMap::new(), None);
    }

    fn neighbour(&self, forward: bool) -> Option<Step> {
        let steps = self.steps();
        let at = steps.iter().position(|step| *step == self.step)?;
        if forward { steps.get(at + 1).copied() } else { steps.get(at.checked_sub(1)?).copied() }
    }
}

/// A key.
pub fn on_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Gate::Setup(setup) = &mut m.gate else { return Vec::new() };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let back = key.code == KeyCode::Esc || (control && key.code == KeyCode::Char('c'));
    // While a daemon is at it nothing is taken away from under it.
    if setup.waiting {
        return Vec::new();
    }
    match (setup.step, back) {
        (Step::Welcome, _) => return on_welcome_key(m, key),
        // There is no way back from a pair but the verb for it.
        (Step::Joining, true) if setup.peer.is_some() => return gate::open(m),
        (_, true) => {
            if let Some(step) = setup.neighbour(false) {
                setup.go(step);
            }
            return Vec::new();
        }
        (_, false) => {}
    }
    match setup.step {
        Step::Ports => on_port_key(setup, key),
        Step::Review => return on_review_key(m, key),
        Step::Welcome | Step::Joining => {}
        Step::Password | Step::Names | Step::Addresses | Step::Code => return on_field_key(m, key),
    }
    Vec::new()
}

fn on_welcome_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Gate::Setup(setup) = &mut m.gate else { return Vec::new() };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    setup.way = match key.code {
        KeyCode::Char('c') if control => return vec![Effect::Quit],
        KeyCode::Char('L') => {
            m.lang = m.lang.other();
            return Vec::new();
        }
        KeyCode::Char('n') => Way::New,
        KeyCode::Char('j') => Way::Join,
        KeyCode::Char('s') => return gate::open(m),
        KeyCode::Esc => {
            gate::to_stick(m);
            return Vec::new();
        }
        KeyCode::Char('q') => return vec![Effect::Quit],
        _ => return Vec::new(),
    };
    if let Some(step) = setup.neighbour(true) {
        setup.go(step);
    }
    Vec::new()
}

fn on_port_key(setup: &mut Setup, key: KeyEvent) {
    let device = setup.ports.get(setup.cursor).map(|port| port.device.clone());
    let role = match key.code {
        KeyCode::Char('w') => Some(Role::Wan),
        KeyCode::Char('l') => Some(Role::Lan),
        KeyCode::Char('d') => Some(Role::Dmz),
        KeyCode::Char('s') => Some(Role::Sync),
        KeyCode::Char(' ') | KeyCode::Delete | KeyCode::Backspace => None,
        KeyCode::Enter => {
            if let Some(fault) = check::ports(setup) {
                setup.faults.insert(Field::Ports, fault);
            } else if let Some(step) = setup.neighbour(true) {
                setup.go(step);
            }
            return;
        }
        code => {
            setup.cursor = move_cursor(setup.cursor, setup.ports.len(), setup.ports.len(), code);
            return;
        }
    };
    setup.faults.clear();
    if let Some(device) = device {
        // Each port is for one thing, and each thing has one port.
        setup.roles.retain(|other, r| *other != device && Some(*r) != role);
        setup.roles.extend(role.map(|role| (device, role)));
    }
}

fn on_field_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Gate::Setup(setup) = &mut m.gate else { return Vec::new() };
    let fields = setup.fields();
    let last = fields.len().saturating_sub(1);
    setup.focus = setup.focus.min(last);
    match key.code {
        KeyCode::Tab | KeyCode::Down => setup.focus = if setup.focus == last { 0 } else { setup.focus + 1 },
        KeyCode::BackTab | KeyCode::Up => setup.focus = setup.focus.checked_sub(1).unwrap_or(last),
        KeyCode::Enter => {
            // What comes further down may not be typed yet.
            let typed = fields.iter().take(setup.focus + 1);
            setup.faults = typed.filter_map(|f| Some((*f, check::field(setup, *f)?))).collect();
            if let Some(wrong) = fields.iter().position(|field| setup.faults.contains_key(field)) {
                setup.focus = wrong;
                return Vec::new();
            }
            // Enter in a field leads to the next one, and from the last one to the next page.
            if setup.focus < last {
                setup.focus += 1;
                return Vec::new();
            }
            return next(m);
        }
        _ => {
            if let Some(field) = fields.get(setup.focus) {
                setup.faults.remove(field);
                type_into(setup.inputs.entry(*field).or_default(), key);
            }
        }
    }
    Vec::new()
}

/// The page is as it should be.
fn next(m: &mut Model) -> Vec<Effect> {
    let lang = m.lang;
    let Gate::Setup(setup) = &mut m.gate else { return Vec::new() };
    setup.failure = None;
    match setup.step {
        Step::Password => {
            let mut take = |field| gate::secret(setup.inputs.entry(field).or_default());
            let (new, _again) = (take(Field::Password), take(Field::Again));
            setup.waiting = true;
            return vec![Effect::Call(Request::SetPassword(Default::default(), new))];
        }
        Step::Code => {
            setup.waiting = true;
            return vec![named(setup, join(setup))];
        }
        Step::Addresses => {
            let text = document::document(lang, setup);
            let report = offline::check(&text, "rempart.toml", false);
            setup.review = Some((text, report));
        }
        Step::Welcome | Step::Names | Step::Ports | Step::Review | Step::Joining => {}
    }
    if let Some(step) = setup.neighbour(true) {
        setup.go(step);
    }
    Vec::new()
}

/// The box gets its name, where it is another one than it has; what comes then is asked for with the answer.
fn named(setup: &Setup, then: Request) -> Effect {
    let name = setup.text(Field::Name);
    Effect::Call(if name == setup.node { then } else { Request::Name(name.to_owned()) })
}

fn join(setup: &Setup) -> Request {
    let device = setup.device(Role::Sync).unwrap_or_default().to_owned();
    Request::PairJoin(setup.text(Field::Code).to_owned(), device)
}

fn on_review_key(m: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let yes = is_yes(m.lang, key);
    let most = super::view::gate::review_scroll(m);
    let page = m.body_height().saturating_sub(4).max(1);
    let (author, session) = (m.author.clone(), m.session);
    let Gate::Setup(setup) = &mut m.gate else { return Vec::new() };
    setup.scroll = match key.code {
        KeyCode::Up => setup.scroll.saturating_sub(1),
        KeyCode::Down => setup.scroll + 1,
        KeyCode::PageUp => setup.scroll.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => setup.scroll + page,
        KeyCode::Home => 0,
        KeyCode::End => most,
        _ => setup.scroll,
    }
    .min(most);
    let good = setup.review.as_ref().is_some_and(|(_, report)| report.valid);
    if !yes || !good {
        return Vec::new();
    }
    (setup.waiting, setup.failure) = (true, None);
    vec![named(setup, commit(setup, author, session))]
}

fn commit(setup: &Setup, author: String, session: Option<rempart_bus::documents::Session>) -> Request {
    let document = setup.review.as_ref().map(|(text, _)| text.clone());
    let comment = "set-up".to_owned();
    Request::Commit(CommitRequest { document, author, comment, session, ..CommitRequest::default() })
}

/// A second has passed: joining may be tried again.
pub fn tick(m: &mut Model) -> Vec<Effect> {
    let Gate::Setup(setup) = &mut m.gate else { return Vec::new() };
    if std::mem::take(&mut setup.again) { vec![Effect::Call(join(setup))] } else { Vec::new() }
}

/// An answer, if it is for the set-up.
pub fn take(
    m: &mut Model,
    request: &Request,
    answer: Result<Reply, Failure>,
) -> ControlFlow<Vec<Effect>, Result<Reply, Failure>> {
    let (author, session) = (m.author.clone(), m.session);
    let Gate::Setup(setup) = &mut m.gate else { return ControlFlow::Continue(answer) };
    match (request, answer) {
        (Request::SetPassword(..), Ok(_)) => {
            setup.waiting = false;
            let step = setup.neighbour(true).filter(|_| setup.step == Step::Password);
            (setup.has_password, m.password) = (true, true);
            step.into_iter().for_each(|step| setup.go(step));
        }
        (Request::Name(name), Ok(_)) => {
            setup.node.clone_from(name);
            let then = match setup.step {
                Step::Code => {
                    setup.tries = Some(0);
                    join(setup)
                }
                _ => commit(setup, author, session),
            };
            return ControlFlow::Break(vec![Effect::Call(then)]);
        }
        (Request::Commit(_), Ok(Reply::Commit(report))) => {
            let pair = setup.is_pair();
            m.committed = true;
            m.dialogs.push(Dialog::Report { report: Box::new(report), scroll: 0 });
            if pair {
                m.notice = Some((tr!(m.lang, "setup-then-pair"), Tone::Good));
            }
            return ControlFlow::Break(gate::open(m));
        }
        // It is being started with its new name.
        (Request::PairJoin(..), Err(Failure::Unreachable(..)))
            if setup.tries.is_some_and(|tries| tries < JOIN_TRIES_MAX) =>
        {
            setup.tries = setup.tries.map(|tries| tries + 1);
            setup.again = true;
        }
        (Request::PairJoin(..), Ok(Reply::Pairing(status))) => {
            (setup.waiting, setup.tries) = (false, None);
            match (status.failure, status.peer) {
                (Some(why), _) => {
                    setup.faults.insert(Field::Code, Fault::Said(why));
                }
                (None, peer) => {
                    setup.peer = Some(peer.unwrap_or_default());
                    setup.go(Step::Joining);
                }
            }
        }
        (
            Request::SetPassword(..) | Request::Name(_) | Request::Commit(_) | Request::PairJoin(..),
            Err(failure),
        ) => {
            (setup.waiting, setup.tries, setup.failure) = (false, None, Some(failure));
            // Passwords are typed anew, from the first one.
            setup.focus = 0;
        }
        (_, answer) => return ControlFlow::Continue(answer),
    }
    ControlFlow::Break(Vec::new())
}
