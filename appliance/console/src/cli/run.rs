//! Owns what each verb does: asks the daemon, prints the answer, chooses the exit code.
//!
//! Exit codes: 0 done, 1 refused or invalid, 2 a mistake in the command, 3 the daemon cannot be reached.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use jiff::tz::TimeZone;
use rempart_bus::codes::RefusalCode;
use rempart_bus::documents::{CheckReport, CommitRequest, ExplainRequest};

use super::table::Paint;
use super::{
    AuditVerb, Cli, CommitArgs, ExplainArgs, KillArgs, Selection, SortArg, Verb, audit, edit, install, own,
    pair, update, vpn, who,
};
use crate::bus::{Bus, Failure, Refusal, Reply, Request};
use crate::filter::{Filter, Order};
use crate::lang::Lang;
use crate::{offline, tr, words};

/// Connections that a selection is made from; the kernel's own table is smaller by default.
const CONNECTIONS_MAX: u32 = 1_000_000;
/// Between two looks at the log.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);

/// Where and how answers are printed.
#[derive(Clone, Debug)]
pub struct Console {
    /// The language.
    pub lang: Lang,
    /// The person's time zone.
    pub tz: TimeZone,
    /// Colours.
    pub paint: Paint,
    /// JSON instead of text.
    pub json: bool,
}

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub enum Stop {
    /// The daemon.
    Failure(Failure),
    /// A mistake in the command; the text is for the person.
    Usage(String),
    /// The answer is no, and it has been printed.
    Refused,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

impl Stop {
    /// What the command names does not exist.
    fn not_found(text: String) -> Stop {
        Stop::Failure(Failure::Refused { kind: Refusal::NotFound, text, report: None })
    }

    /// A file that cannot be read.
    pub fn file(lang: Lang, name: &str, error: &io::Error) -> Stop {
        Stop::Usage(tr!(lang, "error-file", file = name, error = error.to_string()))
    }
}

/// Runs the command and gives its exit code.
pub fn main(cli: Cli) -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let lang = Lang::choose(cli.lang, env);
    let mono = cli.mono || env("NO_COLOR").is_some_and(|v| !v.is_empty());
    let paint = Paint { colour: !mono && io::stdout().is_terminal() };
    let console = Console { lang, tz: TimeZone::system(), paint, json: cli.json };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("rempart: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = match cli.verb {
        None => runtime.block_on(crate::tui::open(lang, mono, console.tz.clone())).map_err(Stop::Usage),
        Some(verb) => runtime.block_on(run(&console, verb)),
    };
    // A call that hangs must not keep the program.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => console.complain(&stop),
    }
}

async fn run(console: &Console, verb: Verb) -> Result<(), Stop> {
    let lang = console.lang;
    match verb {
        Verb::Schema => console.line(&offline::schema()),
        Verb::Services if console.json => console.line(&offline::services_json()),
        Verb::Services => console.line(&console.services(&offline::services())),
        Verb::Check { file } => return check(console, file).await,
        Verb::Status => {
            let text = ask(&connect().await?, &Request::Status).await?;
            console.answer(&Request::Status, text)?;
        }
        Verb::Flows => console.forward(Request::Flows).await?,
        Verb::Matrix => matrix(console).await?,
        Verb::Connections(selection) => connections(console, &selection).await?,
        Verb::Kill(args) => kill(console, args).await?,
        Verb::Log { follow } => log(console, follow).await?,
        Verb::Plan { file } => console.forward(Request::Plan(optional(lang, file)?)).await?,
        Verb::Explain(args) => console.forward(Request::Explain(packet(lang, args)?)).await?,
        Verb::Load { file } => {
            let text = read(lang, &file)?;
            ask(&connect().await?, &Request::Load(text)).await?;
            console.say(&tr!(lang, "load-done"));
        }
        Verb::Edit => {
            let done = edit::edit(console, &connect().await?).await?;
            console.say(&done);
        }
        Verb::Candidate => console.forward(Request::Candidate).await?,
        Verb::Commit { file, how } => {
            let document = file.map(|f| read(lang, &f)).transpose()?;
            console.forward(Request::Commit(commit_request(document, how))).await?;
        }
        Verb::Confirm => console.forward(Request::Confirm).await?,
        Verb::Revert => console.forward(Request::Revert).await?,
        Verb::Rollback { revision, how } => {
            console.forward(Request::Rollback(revision, commit_request(None, how))).await?;
        }
        Verb::Diff { from, to } => console.forward(Request::Diff(from, to)).await?,
        Verb::History => console.forward(Request::History).await?,
        Verb::Show { revision } => console.forward(Request::Show(revision)).await?,
        Verb::Audit { verb: AuditVerb::Anssi } => return audit::anssi(console).await,
        Verb::Ha { verb } => pair::ha(console, verb).await?,
        Verb::Pair { code, on } => pair::pair(console, code, on).await?,
        Verb::Vpn { verb } => vpn::vpn(console, verb).await?,
        Verb::Update { verb } => update::update(console, verb).await?,
        Verb::Install(args) => install::install(console, args).await?,
        Verb::Ports => console.forward(Request::Setup).await?,
        Verb::Ssh { verb } => own::ssh(console, verb).await?,
        Verb::Password => return own::password(console).await,
        Verb::Unpair => {
            ask(&connect().await?, &Request::Unpair).await?;
            console.say(&tr!(lang, "unpair-done"));
        }
    }
    Ok(())
}

pub async fn connect() -> Result<Bus, Stop> {
    Ok(Bus::connect().await?)
}

pub async fn ask(bus: &Bus, request: &Request) -> Result<String, Stop> {
    Ok(bus.ask(request).await?)
}

async fn check(console: &Console, file: Option<String>) -> Result<(), Stop> {
    let lang = console.lang;
    let text = optional(lang, file.clone())?;
    let request = Request::Check(text.clone());
    let answer = match Bus::connect().await {
        Ok(bus) => bus.ask(&request).await,
        Err(failure) => Err(failure),
    };
    let answer = match (answer, file) {
        (Err(Failure::Unreachable(..) | Failure::Denied(_)), Some(file)) => {
            eprintln!("{}", tr!(lang, "check-offline"));
            let report = offline::check(&text, &file, console.paint.colour && !console.json);
            serde_json::to_string(&report).map_err(|e| Failure::Garbled(e.to_string()))?
        }
        (Err(failure), _) => return Err(failure.into()),
        (Ok(answer), _) => answer,
    };
    let valid = match Reply::parse(&request, answer.clone())? {
        Reply::Check(report) => report.valid,
        other => return Err(Failure::Garbled(format!("{other:?}")).into()),
    };
    console.answer(&request, answer)?;
    if valid { Ok(()) } else { Err(Stop::Refused) }
}

async fn matrix(console: &Console) -> Result<(), Stop> {
    let bus = connect().await?;
    let flows = ask(&bus, &Request::Flows).await?;
    if console.json {
        console.line(&flows);
        return Ok(());
    }
    let status = ask(&bus, &Request::Status).await?;
    let replies = (Reply::parse(&Request::Flows, flows)?, Reply::parse(&Request::Status, status)?);
    if let (Reply::Flows(flows), Reply::Status(status)) = replies {
        console.line(&console.matrix(&status, &flows));
    }
    Ok(())
}

async fn connections(console: &Console, selection: &Selection) -> Result<(), Stop> {
    let filter = selection.filter();
    let order = match selection.sort {
        None => Order::Newest,
        Some(SortArg::Bytes) => Order::Bytes,
        Some(SortArg::Age) => Order::Age,
        Some(SortArg::Timeout) => Order::Timeout,
    };
    let limit = selection.limit.unwrap_or(usize::MAX);
    // The daemon counts before it filters, so its limit only serves where nothing is filtered or sorted.
    let whole = filter.is_empty() && order == Order::Newest;
    let asked = if whole { limit.try_into().unwrap_or(CONNECTIONS_MAX) } else { CONNECTIONS_MAX };
    let request = Request::Connections(asked.min(CONNECTIONS_MAX));
    let answer = ask(&connect().await?, &request).await?;
    if whole && console.json {
        console.line(&answer);
        return Ok(());
    }
    if let Reply::Connections(all) = Reply::parse(&request, answer)? {
        let mut kept: Vec<_> = all.iter().filter(|c| filter.matches(*c)).collect();
        order.sort(&mut kept);
        kept.truncate(limit);
        if console.json {
            console.line(&serde_json::to_string(&kept).map_err(|e| Failure::Garbled(e.to_string()))?);
        } else {
            console.line(&console.connections(&kept));
        }
    }
    Ok(())
}

impl Selection {
    /// The same as a filter.
    pub fn filter(&self) -> Filter {
        Filter::default()
            .with_zone(self.zone.as_deref())
            .with_flow(self.flow.as_deref())
            .with_address(self.address)
            .with_port(self.port)
    }
}

async fn kill(console: &Console, args: KillArgs) -> Result<(), Stop> {
    let bus = connect().await?;
    let ids = match args.flow {
        None => args.ids,
        Some(flow) => {
            let request = Request::Connections(CONNECTIONS_MAX);
            let Reply::Connections(all) = Reply::parse(&request, ask(&bus, &request).await?)? else {
                return Ok(());
            };
            let exact = all.iter().filter(|c| c.flow_label == flow || c.flow.to_string() == flow);
            let chosen: Vec<_> = exact.collect();
            if chosen.is_empty() {
                return Err(Stop::not_found(tr!(console.lang, "kill-no-flow", flow = flow.as_str())));
            }
            if !console.json {
                console.line(&console.connections(&chosen));
            }
            chosen.iter().map(|c| c.id).collect()
        }
    };
    let asked = ids.len();
    let request = Request::Kill(ids);
    let answer = ask(&bus, &request).await?;
    if Reply::parse(&request, answer.clone())? == Reply::Number(0) {
        return Err(Stop::not_found(tr!(console.lang, "kill-none", count = asked)));
    }
    console.answer(&request, answer)
}

async fn log(console: &Console, follow: bool) -> Result<(), Stop> {
    let bus = connect().await?;
    let mut after = 0;
    let mut lost_before = None;
    loop {
        let request = Request::Log(after);
        let answer = ask(&bus, &request).await?;
        let Reply::Log(page) = Reply::parse(&request, answer.clone())? else { return Ok(()) };
        let written = match (console.json, follow) {
            (true, false) => console.try_line(&answer),
            // One entry a line, so that a reader need not wait for the end.
            (true, true) => page
                .entries
                .iter()
                .try_for_each(|e| console.try_line(&serde_json::to_string(e).unwrap_or_default())),
            (false, _) => console.try_line(&console.log(&page.entries, after == 0)),
        };
        if page.lost > lost_before.unwrap_or(page.lost) || (lost_before.is_none() && page.lost > 0) {
            let lost = page.lost - lost_before.unwrap_or(0);
            eprintln!("{}", tr!(console.lang, "log-lost", count = lost));
        }
        lost_before = Some(page.lost);
        // The reader of a pipe has gone.
        if written.is_err() || !follow {
            return Ok(());
        }
        // A daemon that was started again counts from the beginning.
        after = page.next;
        tokio::time::sleep(FOLLOW_PERIOD).await;
    }
}

fn packet(lang: Lang, args: ExplainArgs) -> Result<ExplainRequest, Stop> {
    Ok(ExplainRequest {
        document: args.file.map(|f| read(lang, &f)).transpose()?,
        from: args.from,
        source: args.src,
        destination: args.dst,
        service: args.service,
        source_port: args.sport,
    })
}

fn commit_request(document: Option<String>, how: CommitArgs) -> CommitRequest {
    CommitRequest {
        document,
        shown: None,
        author: who::author(|name| std::env::var(name).ok()),
        comment: how.message,
        confirm_s: how.confirm,
        force: how.force,
        session: who::session(),
    }
}

/// The text of a file, or nothing for the candidate.
fn optional(lang: Lang, file: Option<String>) -> Result<String, Stop> {
    match file {
        None => Ok(String::new()),
        // The empty text means the candidate, so an empty file must not be sent as one.
        Some(file) => read(lang, &file).map(|text| if text.is_empty() { "\n".to_owned() } else { text }),
    }
}

pub fn read(lang: Lang, file: &str) -> Result<String, Stop> {
    let text = match file {
        "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
        _ => std::fs::read_to_string(file),
    };
    text.map_err(|e| Stop::file(lang, file, &e))
}

impl Console {
    pub async fn forward(&self, request: Request) -> Result<(), Stop> {
        let answer = ask(&connect().await?, &request).await?;
        self.answer(&request, answer)
    }

    /// Prints an answer: as it came, or for a person.
    pub fn answer(&self, request: &Request, answer: String) -> Result<(), Stop> {
        if !self.json {
            let reply = Reply::parse(request, answer)?;
            self.line(&self.reply(request, &reply));
        } else if request.answers_text() {
            self.line(&serde_json::json!({ "text": answer }).to_string());
        } else {
            self.line(&answer);
        }
        Ok(())
    }

    pub fn say(&self, text: &str) {
        self.line(if self.json { "{}" } else { text });
    }

    pub fn line(&self, text: &str) {
        // A reader that has gone, as `head` does, is no fault of the command.
        let _ = self.try_line(text);
    }

    fn try_line(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    fn complain(&self, stop: &Stop) -> ExitCode {
        match stop {
            Stop::Refused => ExitCode::from(1),
            Stop::Usage(text) => {
                eprintln!("rempart: {text}");
                ExitCode::from(2)
            }
            Stop::Failure(failure) => {
                self.print_report(failure);
                eprintln!("rempart: {}", failure_text(self.lang, failure));
                match failure {
                    Failure::Unreachable(..) | Failure::Denied(_) | Failure::TimedOut(_) => ExitCode::from(3),
                    Failure::Refused { .. } | Failure::Garbled(_) => ExitCode::from(1),
                }
            }
        }
    }

    fn print_report(&self, failure: &Failure) {
        let Failure::Refused { report: Some(report), .. } = failure else { return };
        let report: &CheckReport = report;
        match self.json {
            true => self.line(&serde_json::to_string(report).unwrap_or_default()),
            false => eprint!("{}", self.check_report(report)),
        }
    }
}

/// What a failure means and what to do, for the person.
pub fn failure_text(lang: Lang, failure: &Failure) -> String {
    match failure {
        Failure::Unreachable(daemon, detail) => {
            tr!(lang, "error-unreachable", program = daemon.name(), detail = detail.as_str())
        }
        Failure::Denied(detail) => tr!(lang, "error-denied", detail = detail.as_str()),
        Failure::TimedOut(seconds) => tr!(lang, "error-timeout", seconds = *seconds),
        Failure::Garbled(detail) => tr!(lang, "error-garbled", detail = detail.as_str()),
        Failure::Refused { kind, text, .. } => match kind {
            Refusal::Invalid => tr!(lang, "error-invalid"),
            Refusal::Assertion => tr!(lang, "error-assertion"),
            Refusal::LockOut => tr!(lang, "error-lock-out", text = text.as_str()),
            Refusal::Busy => tr!(lang, "error-busy", text = text.as_str()),
            Refusal::NotFound => tr!(lang, "error-not-found", text = text.as_str()),
            Refusal::Refused => match RefusalCode::of(text) {
                Some(code) => {
                    let said = tr!(lang, words::refusal(code));
                    let detail = text.split_once(": ").map(|(_, detail)| detail);
                    match detail.filter(|_| words::needs_detail(code)) {
                        Some(detail) => tr!(lang, "error-refused-detail", text = said, detail = detail),
                        None => tr!(lang, "error-refused", text = said),
                    }
                }
                None => tr!(lang, "error-refused", text = text.as_str()),
            },
            Refusal::Apply => tr!(lang, "error-apply", text = text.as_str()),
            Refusal::Failed => tr!(lang, "error-failed", text = text.as_str()),
        },
    }
}
