//! Owns the verbs about updates, and how their answers look.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Subcommand;
use rempart_bus::update::{FoundFile, InstallRequest, Job, PairUpdate, Trial, UpdateStatus};

use super::run::{Console, Stop, ask, connect};
use super::who;
use crate::bus::{Bus, Failure, Refusal, Reply, Request};
use crate::format::{bytes, date_minute};
use crate::lang::Lang;
use crate::updates::{Answer, Ask};
use crate::words::Tone;
use crate::{id, tr};

/// Between two looks at what is being done.
const PERIOD: Duration = Duration::from_secs(1);

/// A verb about updates.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum UpdateVerb {
    /// How it is.
    Status,
    /// The update files on the stick.
    Files,
    /// Verifies an update.
    Check {
        /// A file on the stick, a URL, or `partner`.
        source: String,
    },
    /// Writes an update into the other slot.
    Install {
        /// A file on the stick, a URL, or `partner`.
        source: String,
        /// Even if it is older.
        #[arg(long)]
        older: bool,
        /// Start it at once.
        #[arg(long)]
        restart: bool,
    },
    /// Brings both nodes to a version.
    Pair {
        /// A file on the stick, or a URL.
        source: String,
    },
    /// Ends that.
    Stop,
    /// Starts the version in the other slot.
    Restart,
    /// The version on trial stays.
    Confirm,
    /// Starts the version of before.
    Back,
}

/// `rempart update …`
pub async fn update(console: &Console, verb: Option<UpdateVerb>) -> Result<(), Stop> {
    let by = who::author(|name| std::env::var(name).ok());
    let asked = match verb.unwrap_or(UpdateVerb::Status) {
        UpdateVerb::Status => Ask::Status,
        UpdateVerb::Files => Ask::Files,
        UpdateVerb::Check { source } => return follow(console, Ask::Check(source, by)).await,
        UpdateVerb::Install { source, older, restart } => {
            return follow(console, Ask::Install(InstallRequest { source, older, restart }, by)).await;
        }
        UpdateVerb::Pair { source } => return follow(console, Ask::Pair(source, by)).await,
        UpdateVerb::Stop => Ask::Stop(by),
        UpdateVerb::Restart => Ask::Restart(by),
        UpdateVerb::Confirm => Ask::Confirm(by),
        UpdateVerb::Back => Ask::Back(by),
    };
    console.forward(Request::Update(Box::new(asked))).await
}

/// Begins something and waits for its end.
pub(super) async fn follow(console: &Console, asked: Ask) -> Result<(), Stop> {
    let bus = connect().await?;
    let (pair, disk) = (matches!(asked, Ask::Pair(..)), matches!(asked, Ask::InstallDisk(..)));
    ask(&bus, &Request::Update(Box::new(asked))).await?;
    let mut shown = String::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let (text, status) = status(&bus).await?;
        let line = console.update_progress(&status, pair);
        if !console.json && line != shown && io::stderr().is_terminal() {
            eprintln!("{line}");
            shown = line;
        }
        let job = status.job.clone().unwrap_or_default();
        let plan = status.pair.clone().filter(|_| pair && job.state == "done");
        let failure = match (job.state.as_str(), &plan) {
            ("running", _) => continue,
            ("done", None) if !pair => None,
            // The plan is made once the file is here.
            ("done", None) => continue,
            ("done", Some(plan)) if plan.state == "going" => continue,
            ("done", Some(plan)) => plan.why.clone(),
            _ => Some(job.failure.clone().unwrap_or_default()),
        };
        if let Some(text) = failure {
            return Err(Stop::Failure(Failure::Refused { kind: Refusal::Refused, text, report: None }));
        }
        console.line(&match (console.json, disk) {
            (true, _) => text,
            (false, true) => console.update_job(&job),
            (false, false) => console.update_status(&status),
        });
        return Ok(());
    }
}

async fn status(bus: &Bus) -> Result<(String, UpdateStatus), Stop> {
    let request = Request::Update(Box::new(Ask::Status));
    let text = ask(bus, &request).await?;
    match Reply::parse(&request, text.clone())? {
        Reply::Update(answer) => match *answer {
            Answer::Status(status) => Ok((text, *status)),
            other => Err(Failure::Garbled(format!("{other:?}")).into()),
        },
        other => Err(Failure::Garbled(format!("{other:?}")).into()),
    }
}

impl Console {
    /// Any answer.
    pub fn update(&self, answer: &Answer) -> String {
        match answer {
            Answer::Status(status) => self.update_status(status),
            Answer::Files(files) => self.update_files(files),
            Answer::Disks(report) => self.disks(report),
            Answer::Begun => tr!(self.lang, "update-begun"),
            Answer::Restarting => tr!(self.lang, "update-restarting"),
            Answer::Done => tr!(self.lang, "update-done"),
        }
    }

    /// How updates are, at a glance.
    pub fn update_status(&self, s: &UpdateStatus) -> String {
        let lang = self.lang;
        let running = s.running.as_str();
        let (tone, first) = match s.on_trial {
            true => (Tone::Warn, tr!(lang, "update-on-trial", version = running)),
            false => (Tone::Good, tr!(lang, "update-runs", version = running)),
        };
        let mut lines = vec![self.paint.tone(tone, &first)];
        for lacking in &s.lacking {
            lines.push(self.paint.tone(Tone::Bad, &tr!(lang, "update-lacks", what = lacking.as_str())));
        }
        lines.push(match &s.other {
            None => self.paint.tone(Tone::Dim, &tr!(lang, "update-other-empty")),
            Some(other) => {
                let (tone, id) = other_slot(&other.state);
                self.paint.tone(tone, &lang.text(id, &[("version", other.version.as_str().into())]))
            }
        });
        if let Some(last) = &s.last {
            lines.push(self.update_trial(last));
            lines.extend(last.lacking.iter().map(|what| tr!(lang, "update-lacked", what = what.as_str())));
        }
        if let Some(job) = &s.job {
            lines.push(self.update_job(job));
        }
        if let Some(pair) = &s.pair {
            lines.push(self.update_pair(pair));
        }
        lines.join("\n") + "\n"
    }

    fn update_trial(&self, last: &Trial) -> String {
        let (tone, id) = match last.outcome.as_str() {
            "good" => (Tone::Plain, id!("update-last-good")),
            "failed" => (Tone::Bad, id!("update-last-failed")),
            "not-started" => (Tone::Bad, id!("update-last-not-started")),
            "kept" => (Tone::Bad, id!("update-last-kept")),
            _ => (Tone::Warn, id!("update-last-unknown")),
        };
        let time = date_minute(&self.tz, &last.time);
        let text = self.lang.text(id, &[("version", last.version.as_str().into()), ("time", time.into())]);
        self.paint.tone(tone, &text)
    }

    fn update_job(&self, job: &Job) -> String {
        let lang = self.lang;
        let (source, version) = (job.source.as_str(), job.version.as_deref().unwrap_or("?"));
        match (job.what.as_str(), job.state.as_str()) {
            ("disk", "failed") => {
                let why = job.failure.as_deref().unwrap_or("?");
                self.paint.tone(Tone::Bad, &tr!(lang, "install-failed", disk = source, why = why))
            }
            (_, "failed") => {
                let why = job.failure.as_deref().unwrap_or("?");
                self.paint.tone(Tone::Bad, &tr!(lang, "update-job-failed", source = source, why = why))
            }
            (_, "running") => progress(lang, job),
            ("check", _) => {
                let made = job.made.as_deref().map_or("?".into(), |made| date_minute(&self.tz, made));
                let text = tr!(lang, "update-job-checked", source = source, version = version, made = made);
                self.paint.tone(Tone::Good, &text)
            }
            ("disk", _) => self.paint.tone(Tone::Good, &tr!(lang, "install-done", disk = source)),
            _ => tr!(lang, "update-job-installed", source = source, version = version),
        }
    }

    fn update_pair(&self, pair: &PairUpdate) -> String {
        let lang = self.lang;
        let version = pair.version.as_str();
        let at = lang.text(phase(&pair.node, &pair.phase), &[]);
        match pair.state.as_str() {
            "done" => self.paint.tone(Tone::Good, &tr!(lang, "update-pair-done", version = version)),
            "stopped" => {
                let why = pair.why.as_deref().unwrap_or("?");
                self.paint
                    .tone(Tone::Bad, &tr!(lang, "update-pair-stopped", version = version, at = at, why = why))
            }
            _ => tr!(lang, "update-pair-going", version = version, at = at),
        }
    }

    /// How far it is, in a line.
    fn update_progress(&self, s: &UpdateStatus, pair: bool) -> String {
        match (&s.job, &s.pair) {
            (Some(job), _) if job.state == "running" => progress(self.lang, job),
            (_, Some(plan)) if pair => self.update_pair(plan),
            _ => String::new(),
        }
    }

    fn update_files(&self, files: &[FoundFile]) -> String {
        let lang = self.lang;
        if files.is_empty() {
            return tr!(lang, "update-no-files");
        }
        let line = |file: &FoundFile| {
            let path = file.path.as_str();
            match (&file.version, &file.failure) {
                (Some(version), _) => tr!(lang, "update-file", path = path, version = version.as_str()),
                (None, why) => {
                    let why = why.as_deref().unwrap_or("?");
                    self.paint.tone(Tone::Bad, &tr!(lang, "update-file-bad", path = path, why = why))
                }
            }
        };
        files.iter().map(|file| line(file) + "\n").collect()
    }
}

/// How far a job is.
pub fn progress(lang: Lang, job: &Job) -> String {
    let (done, all) = (bytes(lang, job.done_bytes), bytes(lang, job.all_bytes));
    match (job.what.as_str(), job.phase.as_str()) {
        ("disk", "compare") => tr!(lang, "install-compares", done = done, all = all),
        ("disk", _) => tr!(lang, "install-writes", done = done, all = all),
        _ => tr!(lang, "update-job-running", source = job.source.as_str(), done = done, all = all),
    }
}

fn other_slot(state: &str) -> (Tone, &'static str) {
    match state {
        "ready" => (Tone::Accent, id!("update-other-ready")),
        "armed" => (Tone::Warn, id!("update-other-armed")),
        "good" => (Tone::Plain, id!("update-other-good")),
        "failed" => (Tone::Bad, id!("update-other-failed")),
        _ => (Tone::Warn, id!("update-other-unknown")),
    }
}

fn phase(node: &str, phase: &str) -> &'static str {
    match (node, phase) {
        ("here", "fetch") => id!("update-here-fetch"),
        ("here", "hand-over") => id!("update-here-hand-over"),
        ("here", "restart") => id!("update-here-restart"),
        ("here", "settle") => id!("update-here-settle"),
        ("there", "fetch") => id!("update-there-fetch"),
        ("there", "hand-over") => id!("update-there-hand-over"),
        ("there", "restart") => id!("update-there-restart"),
        ("there", "settle") => id!("update-there-settle"),
        _ => id!("update-phase-unknown"),
    }
}

#[cfg(test)]
mod tests;
