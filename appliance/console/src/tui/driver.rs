//! The dull part: waits for one thing, hands it to [`update`], does what that says, draws.
//!
//! Tasks: a thread reads keys (and probes the size of a serial line, since nobody else may read then); each call
//! to the daemon is a task of its own, so that nothing waits for the bus; the clock and the signals are in the
//! loop itself. All speak to the loop through one bounded channel.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, Event};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::time::MissedTickBehavior;

use super::model::{Effect, Gate, Message, Model, Screen};
use super::runner::{Runner, Running};
use super::terminal::{self, Guard};
use super::update::update;
use super::view::view;
use crate::bus::{Bus, Failure, Reply, Request};
use crate::cli::line::Order as VerbOrder;
use crate::cli::who;
use crate::lab::{Lab, Order, Traffic};
use crate::lang::Lang;
use crate::tr;

/// Messages that wait for the loop. Keys are typed by a person, and calls under way are few.
const MESSAGES_MAX: usize = 64;
/// How soon the key thread sees that it should probe the size.
const KEY_PERIOD: Duration = Duration::from_millis(100);
/// Between two looks at whether the terminal is free.
const LENT_PERIOD: Duration = Duration::from_millis(20);

/// Opens the screens and stays in them. The error is for the person.
pub async fn open(lang: Lang, mono: bool, tz: TimeZone) -> Result<(), String> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(tr!(lang, "no-terminal"));
    }
    let mut model = Model::new(lang, mono, tz, Timestamp::now());
    model.author = who::author(|name| std::env::var(name).ok());
    model.session = who::session();
    // Nothing is shown before it is known who may see it.
    model.gate = Gate::Asking(None);
    let lab = Lab::of(|name| std::env::var(name).ok());
    if lab.is_some() {
        // Whoever comes to the lab comes for the pair.
        (model.lab, model.screen) = (Some(Traffic::default()), Screen::Pair);
    }
    let serial = terminal::is_serial();
    let guard = Guard::new().map_err(|e| e.to_string())?;
    if serial {
        terminal::probe_size().map_err(|e| e.to_string())?;
    }
    let screen = guard.screen().map_err(|e| e.to_string())?;
    let size = screen.size().map_err(|e| e.to_string())?;
    (model.width, model.height) = (size.width, size.height);
    let result = run(model, screen, &guard, serial, lab).await;
    drop(guard);
    result.map_err(|e| e.to_string())
}

async fn run(
    mut model: Model,
    mut screen: terminal::Screen,
    guard: &Guard,
    serial: bool,
    lab: Option<Lab>,
) -> io::Result<()> {
    let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
    let keyboard = Arc::new(Keyboard::default());
    let keys = (sender.clone(), keyboard.clone());
    std::thread::spawn(move || read_keys(&keys.0, &keys.1));
    let runner = Runner { mono: model.mono };
    let mut running = None;
    let bus = Arc::new(Mutex::new(None));
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // Ctrl-C on the terminal of a verb is for the verb. Caught and not ignored: it would be ignored there too.
    let _interrupt = signal(SignalKind::interrupt())?;
    loop {
        let message = tokio::select! {
            Some(message) = messages.recv() => message,
            _ = clock.tick() => Message::Tick(Timestamp::now()),
            _ = terminate.recv() => Message::Terminate,
            _ = hang_up.recv() => Message::Terminate,
        };
        if let (Message::Tick(_), Some(lab)) = (&message, &lab) {
            (model, _) = update(model, Message::Traffic(lab.traffic()));
        }
        let mut next = Some(message);
        while let Some(message) = next {
            let (changed, effects) = update(model, message);
            model = changed;
            let mut effects = VecDeque::from(effects);
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Call(request) => {
                        tokio::spawn(call(bus.clone(), request, sender.clone()));
                    }
                    Effect::Lab(order) => {
                        if let Some(lab) = lab.clone() {
                            tokio::spawn(tell(lab, order, sender.clone()));
                        }
                    }
                    Effect::Run(order) if order.asks => {
                        let code = tokio::select! {
                            code = on_terminal(&order, model.lang, runner, guard, &keyboard) => code?,
                            _ = terminate.recv() => return Ok(()),
                            _ = hang_up.recv() => return Ok(()),
                        };
                        let size = screen.size()?;
                        screen.resize(size.into())?;
                        let (changed, more) = update(model, Message::Ended(code));
                        model = changed;
                        effects.extend(more);
                    }
                    Effect::Run(order) => {
                        running = Some(runner.begin(&order, model.lang, sender.clone()));
                    }
                    Effect::Interrupt => running.iter().for_each(Running::interrupt),
                    Effect::Repaint => {
                        keyboard.probe.store(serial, Ordering::SeqCst);
                        let size = screen.size()?;
                        screen.resize(size.into())?;
                    }
                    Effect::Quit => return Ok(()),
                }
            }
            // What has piled up is drawn once.
            next = messages.try_recv().ok();
        }
        screen.draw(|frame| view(&model, frame))?;
    }
}

/// Who reads the terminal.
#[derive(Debug, Default)]
struct Keyboard {
    /// The size of a serial line is to be asked for.
    probe: AtomicBool,
    /// Another program has the terminal, or wants it.
    lent: AtomicBool,
    /// Held while a key is waited for.
    reading: std::sync::Mutex<()>,
}

/// Gives a verb the terminal, and takes it back.
async fn on_terminal(
    order: &VerbOrder,
    lang: Lang,
    runner: Runner,
    guard: &Guard,
    keyboard: &Keyboard,
) -> io::Result<Option<i32>> {
    keyboard.lent.store(true, Ordering::SeqCst);
    // Until then the thread may be in the middle of its last look.
    while keyboard.reading.try_lock().is_err() {
        tokio::time::sleep(LENT_PERIOD).await;
    }
    guard.lend();
    let code = runner.on_terminal(order, lang).await;
    guard.reclaim()?;
    keyboard.lent.store(false, Ordering::SeqCst);
    code
}

/// Asks the daemon. A connection that has failed is made anew by the next call.
async fn call(bus: Arc<Mutex<Option<Bus>>>, request: Request, sender: mpsc::Sender<Message>) {
    let answer = match connected(&bus).await {
        Ok(bus) => bus.ask(&request).await,
        Err(failure) => Err(failure),
    };
    if let Err(Failure::Unreachable(..)) = &answer {
        *bus.lock().await = None;
    }
    let answer = answer.and_then(|text| Reply::parse(&request, text));
    // The loop has gone: so does the program.
    let _ = sender.send(Message::Answer(request, answer)).await;
}

/// Has the lab do something. It may take the power of this very router.
async fn tell(lab: Lab, order: Order, sender: mpsc::Sender<Message>) {
    let done = tokio::task::spawn_blocking(move || lab.run(order)).await;
    let done = done.unwrap_or_else(|e| Err(e.to_string()));
    let _ = sender.send(Message::LabDone(order, done)).await;
}

async fn connected(slot: &Mutex<Option<Bus>>) -> Result<Bus, Failure> {
    let mut slot = slot.lock().await;
    if let Some(bus) = &*slot {
        return Ok(bus.clone());
    }
    let bus = Bus::connect().await?;
    *slot = Some(bus.clone());
    Ok(bus)
}

/// Reads the terminal until it is gone.
fn read_keys(sender: &mpsc::Sender<Message>, keyboard: &Keyboard) {
    loop {
        if keyboard.lent.load(Ordering::SeqCst) {
            std::thread::sleep(LENT_PERIOD);
            continue;
        }
        let Some(message) = read_key(keyboard) else { continue };
        let last = message == Message::Terminate;
        if sender.blocking_send(message).is_err() || last {
            return;
        }
    }
}

/// What the terminal has said within [`KEY_PERIOD`].
fn read_key(keyboard: &Keyboard) -> Option<Message> {
    let _reading = keyboard.reading.lock();
    if keyboard.lent.load(Ordering::SeqCst) {
        return None;
    }
    if keyboard.probe.swap(false, Ordering::SeqCst) && terminal::probe_size().is_ok() {
        let size = crossterm::terminal::size().unwrap_or((80, 24));
        return Some(Message::Resize(size.0, size.1));
    }
    match event::poll(KEY_PERIOD) {
        Ok(false) => None,
        Ok(true) => match event::read() {
            Ok(Event::Key(key)) => Some(Message::Key(key)),
            Ok(Event::Resize(width, height)) => Some(Message::Resize(width, height)),
            Ok(_) => None,
            Err(_) => Some(Message::Terminate),
        },
        Err(_) => Some(Message::Terminate),
    }
}
