//! Owns `rempart edit`: the candidate in the person's editor, checked when they leave it, never lost.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bus::{Bus, Failure, Refusal, Reply, Request};
use crate::cli::run::{Console, Stop};
use crate::tr;

/// Files of the same name that are tried before giving up.
const NAMES_MAX: u32 = 100;

/// Opens the candidate, and loads what comes of it. A document with errors is offered again.
pub async fn edit(console: &Console, bus: &Bus) -> Result<String, Stop> {
    let lang = console.lang;
    let before = bus.ask(&Request::Candidate).await?;
    let file = private_file(&before)?;
    let shown = file.display().to_string();
    loop {
        run_editor(&file).map_err(|e| Stop::Usage(tr!(lang, "edit-no-editor", error = e.to_string())))?;
        let text = std::fs::read_to_string(&file).map_err(|e| Stop::file(lang, &shown, &e))?;
        if text == before {
            remove(&file);
            return Ok(tr!(lang, "edit-unchanged"));
        }
        let request = Request::Check(text.clone());
        let found = match bus.ask(&request).await.and_then(|answer| Reply::parse(&request, answer)) {
            Ok(Reply::Check(report)) if report.valid => None,
            Ok(Reply::Check(report)) => Some(report),
            Ok(other) => return Err(Failure::Garbled(format!("{other:?}")).into()),
            Err(failure) => {
                eprintln!("{}", tr!(lang, "edit-kept", file = shown.as_str()));
                return Err(failure.into());
            }
        };
        let Some(report) = found else {
            if let Err(failure) = bus.ask(&Request::Load(text)).await {
                eprintln!("{}", tr!(lang, "edit-kept", file = shown.as_str()));
                return Err(failure.into());
            }
            remove(&file);
            return Ok(tr!(lang, "edit-loaded"));
        };
        if !(io::stdin().is_terminal() && ask_again(console, &report)) {
            eprintln!("{}", tr!(lang, "edit-kept", file = shown.as_str()));
            let report = Some(Box::new(report));
            return Err(Failure::Refused { kind: Refusal::Invalid, text: String::new(), report }.into());
        }
    }
}

/// A file that only this user can read, in a folder that goes away at logout if there is one.
fn private_file(text: &str) -> Result<PathBuf, Stop> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let process = std::process::id();
    for attempt in 0..NAMES_MAX {
        let path = folder.join(format!("rempart-{process}-{attempt}.toml"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).map_err(|e| Stop::Usage(e.to_string()))?;
                return Ok(path);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Stop::Usage(format!("{}: {e}", path.display()))),
        }
    }
    Err(Stop::Usage(folder.display().to_string()))
}

/// Runs `$VISUAL` or `$EDITOR`, which may have options, or `vi`.
fn run_editor(file: &Path) -> io::Result<()> {
    let named = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{editor}: {status}"))) }
}

fn ask_again(console: &Console, report: &rempart_bus::documents::CheckReport) -> bool {
    eprint!("{}\n{} ", console.check_report(report), tr!(console.lang, "edit-again"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok_and(|n| n > 0) && !answer.trim().to_lowercase().starts_with('n')
}

fn remove(file: &Path) {
    // The text is loaded or unchanged: a file left behind does no harm.
    let _ = std::fs::remove_file(file);
}
