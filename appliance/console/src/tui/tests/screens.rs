//! Whole screens as golden files: the symbols, and below them one letter for the style of each cell.

use ratatui_core::backend::TestBackend;
use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;

use super::*;
use crate::bus::Daemon;
use crate::golden::assert_golden;
use crate::lab::{Stream, Traffic};
use crate::lang::tests::is_in_font;
use crate::tui::view::view;
use crate::vpn::{Answer, Ask};

/// What a model looks like.
pub fn drawn(m: &Model) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(m.width, m.height)).expect("a terminal");
    terminal.draw(|frame| view(m, frame)).expect("it is drawn");
    terminal.backend().buffer().clone()
}

/// Symbols, styles, and what the letters stand for.
fn dump(buffer: &Buffer) -> String {
    let (mut symbols, mut styles) = (String::new(), String::new());
    let mut legend: Vec<(Color, Color, Modifier)> = vec![(Color::Reset, Color::Reset, Modifier::empty())];
    for row in buffer.content.chunks(buffer.area.width.into()) {
        let mut line = String::new();
        let mut letters = String::new();
        for cell in row {
            line.push_str(cell.symbol());
            let style = (cell.fg, cell.bg, cell.modifier);
            let at = legend.iter().position(|s| *s == style).unwrap_or_else(|| {
                legend.push(style);
                legend.len() - 1
            });
            letters.push(if at == 0 { '.' } else { (b'a' + at as u8 - 1) as char });
        }
        symbols.push_str(line.trim_end_matches(' '));
        symbols.push('\n');
        styles.push_str(letters.trim_end_matches('.'));
        styles.push('\n');
    }
    let legend = legend.iter().enumerate().skip(1).map(|(i, (fg, bg, modifier))| {
        format!("{}: {fg} on {bg} {modifier:?}\n", (b'a' + i as u8 - 1) as char)
    });
    format!("{symbols}--- styles\n{styles}--- legend\n{}", legend.collect::<String>())
}

fn diff() -> Request {
    Request::Diff("running".into(), "candidate".into())
}

/// Every screen and dialog, as far as it looks different.
fn scenes(lang: Lang, mono: bool) -> Vec<(&'static str, Model)> {
    let base = || filled(lang, mono);
    let on = |keys: &str| press(base(), keys);
    let pending = |m| give(m, Request::Status, Reply::Status(Box::new(fixtures::status_pending())));
    let busy = || {
        let mut m = base();
        for i in 0..60 {
            let mut status = fixtures::status();
            status.interfaces[0].rx_bits_per_s = i * i * 20_000;
            m = give(m, Request::Status, Reply::Status(Box::new(status)));
        }
        give(m, Request::Status, Reply::Status(Box::new(fixtures::status())))
    };
    let gone = |m| {
        update(m, Message::Answer(Request::Status, Err(Failure::Unreachable(Daemon::Control, "gone".into()))))
            .0
    };
    let commit = |check| {
        let m = give(on("5cLDAPS"), diff(), Reply::Text(fixtures::DIFF.into()));
        give(m, Request::Check(String::new()), Reply::Check(check))
    };
    let lab = |keys: &str| {
        let download = Stream { bytes_per_s: 4_000_000, longest_pause_ms: 31, ..Stream::default() };
        let ssh = Stream { ended: Some("exit status: 255".into()), ..Stream::default() };
        let traffic = Traffic { download: Some(download), ssh: Some(ssh) };
        press(update(base(), Message::Traffic(traffic)).0, keys)
    };
    let diverged = |keys: &str| {
        press(give(base(), Request::HaStatus, Reply::HaStatus(Box::new(fixtures::diverged()))), keys)
    };
    let explained = {
        let m = on("3__e>");
        give(m, Request::Explain(Default::default()), Reply::Explain(fixtures::explanation()))
    };
    vec![
        ("connecting", fresh(lang, mono)),
        ("dashboard", busy()),
        ("dashboard-pending", pending(busy())),
        ("dashboard-stale", gone(pending(base()))),
        ("absent", gone(fresh(lang, mono))),
        ("matrix", on("2_")),
        ("matrix-services", on("2t")),
        ("matrix-cell", on("2_>")),
        (
            "flow",
            on("2__")
                .pipe(|m| press(update(m, key(KeyCode::Right)).0, ""))
                .pipe(|m| press(m, ""))
                .pipe(admin_flow),
        ),
        ("connections", on("3b_")),
        ("connections-filter", on("3/zone:dmz port:x")),
        ("connections-frozen", on("3f")),
        ("connection", on("3__>")),
        ("kill", on("3/zone:dmz>K")),
        ("log", on("4")),
        ("entry", on("4>")),
        ("configuration", on("5_")),
        ("configuration-pending", pending(on("5"))),
        ("diff", give(on("5d"), diff(), Reply::Text(fixtures::DIFF.into()))),
        ("commit", commit(fixtures::check_valid())),
        ("commit-invalid", commit(fixtures::check_invalid())),
        (
            "commit-lock-out",
            refuse(commit(fixtures::check_valid()), Request::Commit(Default::default()), Refusal::LockOut),
        ),
        ("report", give(on("5c"), Request::Commit(Default::default()), Reply::Commit(fixtures::commit()))),
        (
            "revert",
            give(
                press(pending(base()), "r"),
                Request::Diff("13".into(), "12".into()),
                Reply::Text(fixtures::DIFF.into()),
            ),
        ),
        ("explain", explained),
        ("explain-empty", on("e")),
        ("pair", on("6")),
        ("pair-absent", {
            let gone = Failure::Unreachable(Daemon::Ha, "gone".into());
            update(on("6"), Message::Answer(Request::HaStatus, Err(gone))).0
        }),
        ("pair-diverged", diverged("6")),
        ("vpn", on("7_")),
        ("vpn-absent", {
            let gone = Failure::Unreachable(Daemon::Vpn, "gone".into());
            update(on("7"), Message::Answer(Request::Vpn(Box::new(Ask::Sessions)), Err(gone))).0
        }),
        (
            "vpn-wireguard",
            give(
                on("7"),
                Request::Vpn(Box::new(Ask::Wireguard)),
                Reply::Vpn(Box::new(Answer::Wireguard(fixtures::wireguard()))),
            ),
        ),
        ("choose", diverged("6c")),
        ("choose-mine", give(diverged("6cm"), Choice::Mine.diff(), Reply::Text(fixtures::DIFF.into()))),
        ("lab", lab("6")),
        ("lab-keys", lab("X")),
        ("lab-nothing", update(on("1"), Message::Traffic(Traffic::default())).0),
        ("switch", on("6s")),
        ("maintenance", on("6m")),
        ("prompt", on(":")),
        ("prompt-completes", on(":vpn user ")),
        ("output", prompt::said(on(":status>"), fixtures::DIFF)),
        ("output-misread", on(":vpn frobnicate>")),
        ("editor", editor::opened(on("5E"), "x")),
        ("editor-fault", editor::faulty(on("5E"))),
        ("help", on("?")),
        ("gate-asking", setup::shut(lang, mono)),
        ("gate-locked", setup::locked(lang, mono)),
        ("live", live::begun(lang, mono, "")),
        ("live-disks", live::begun(lang, mono, "i_")),
        ("live-confirm", live::begun(lang, mono, "i>INTEL>")),
        ("live-copying", live::copying(lang, mono, "write", "running")),
        ("live-failed", live::copying(lang, mono, "compare", "failed")),
        ("live-done", live::copying(lang, mono, "compare", "done")),
        ("live-keep", live::begun(lang, mono, "k")),
        ("live-tried", live::begun(lang, mono, "ts")),
        ("setup-welcome", setup::begun(lang, mono, "")),
        ("setup-password", setup::begun(lang, mono, "nsecret|other>")),
        ("setup-names", setup::named(lang, mono, "rte01>rte01>>")),
        ("setup-ports", setup::plugged(setup::named(lang, mono, "rte01>>>w_l_s>"))),
        ("setup-addresses", setup::named(lang, mono, "rte01>>>w_l>x>")),
        ("setup-addresses-pair", setup::named(lang, mono, "rte01>rte02>>w_l_s_d>")),
        ("setup-review", setup::named(lang, mono, "rte01>rte02>>w_l_s>>>>>")),
        ("setup-code", setup::refused(setup::joining(lang, mono, "rte02>__s>7KQ4>"))),
        ("setup-joined", setup::joined(lang, mono)),
        ("notice", give(press(base(), "3k"), Request::Kill(vec![1]), Reply::Number(1))),
    ]
}

/// Reads from left to right.
trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}
impl Pipe for Model {}

/// The flow that the calendar has switched off.
fn admin_flow(mut m: Model) -> Model {
    let flow = m.flows.iter().find(|f| f.label == "maintenance").expect("it is there").clone();
    m.dialogs.push(crate::tui::model::Dialog::Flow(Box::new(flow)));
    m
}

#[test]
fn screens_look_like_this() {
    for lang in [Lang::Fr, Lang::En] {
        for mono in [true, false] {
            for (name, model) in scenes(lang, mono) {
                let colours = if mono { "mono" } else { "colour" };
                let file = format!("screens/{name}.{lang:?}.{colours}").to_lowercase();
                assert_golden(&file, &dump(&drawn(&model)));
            }
        }
    }
}

#[test]
fn the_console_font_has_every_symbol_on_every_screen() {
    for lang in [Lang::Fr, Lang::En] {
        for (name, model) in scenes(lang, false) {
            for cell in &drawn(&model).content {
                let strange: Vec<char> = cell.symbol().chars().filter(|c| !is_in_font(*c)).collect();
                assert!(strange.is_empty(), "{name}: {strange:?}");
            }
        }
    }
}

#[test]
fn without_colours_there_are_none() {
    for (name, model) in scenes(Lang::Fr, true) {
        for cell in &drawn(&model).content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{name}");
        }
    }
}

#[test]
fn other_sizes_are_drawn_or_refused_but_never_panic() {
    for lang in [Lang::Fr, Lang::En] {
        for (width, height) in [(1, 1), (20, 5), (59, 24), (60, 16), (80, 25), (132, 50), (250, 80)] {
            for (_, mut model) in scenes(lang, false) {
                (model.width, model.height) = (width, height);
                drawn(&model);
                for code in [KeyCode::Down, KeyCode::PageDown, KeyCode::End, KeyCode::PageUp] {
                    model = update(model, key(code)).0;
                    drawn(&model);
                }
            }
        }
    }
    let mut small = filled(Lang::En, false);
    (small.width, small.height) = (50, 10);
    assert!(dump(&drawn(&small)).starts_with("The screens need 60×16; this terminal has 50×10."));
}

#[test]
fn many_zones_scroll() {
    let mut status = fixtures::status();
    let zone = |i: usize| rempart_bus::documents::ZoneStatus {
        name: format!("zone{i:02}"),
        external: false,
        interfaces: Vec::new(),
    };
    status.zones = (0..20).map(zone).collect();
    let mut m = give(filled(Lang::En, true), Request::Status, Reply::Status(Box::new(status)));
    m = press(m, "2");
    for _ in 0..19 {
        m = update(update(m, key(KeyCode::Right)).0, key(KeyCode::Down)).0;
    }
    assert_eq!((m.matrix.row, m.matrix.column), (19, 19));
    assert_golden("screens/matrix-20-zones.en.mono", &dump(&drawn(&m)));
}
