//! Owns the verb that puts Rempart onto a disk, where the box was started from a stick.

use clap::Args;
use rempart_bus::update::{DiskRequest, DiskView, DisksReport};

use super::print::{dim, heads, plain};
use super::run::{Console, Stop, ask, connect};
use super::table::{Align, Table};
use super::{update, who};
use crate::bus::{Failure, Reply, Request};
use crate::format::bytes;
use crate::lang::Lang;
use crate::tr;
use crate::updates::{Answer, Ask};
use crate::words::Tone;

/// Which disk, and whether it may be written.
#[derive(Args, PartialEq, Eq, Debug, Default)]
pub struct InstallArgs {
    /// The disk: its name, serial number or model, or `only`. Left out, the disks are listed.
    pub disk: Option<String>,
    /// All that is on it may be lost.
    #[arg(long, short, requires = "disk")]
    pub yes: bool,
    /// Nobody was asked: not onto a disk that carries Rempart.
    #[arg(long, requires = "disk", conflicts_with = "yes")]
    pub unattended: bool,
    /// The stick becomes the disk of the box.
    #[arg(long, conflicts_with = "disk")]
    pub keep: bool,
    /// Starts the box again.
    #[arg(long, conflicts_with_all = ["disk", "keep"])]
    pub restart: bool,
}

impl InstallArgs {
    /// Whether it shows how far it is.
    pub fn writes(&self) -> bool {
        self.yes || self.unattended
    }
}

/// `rempart install …`
pub async fn install(console: &Console, args: InstallArgs) -> Result<(), Stop> {
    let by = who::author(|name| std::env::var(name).ok());
    let update = |asked| Request::Update(Box::new(asked));
    let Some(disk) = &args.disk else {
        let asked = match (args.keep, args.restart) {
            (true, _) => Ask::Keep(by),
            (false, true) => Ask::Leave(by),
            (false, false) => Ask::Disks,
        };
        return console.forward(update(asked)).await;
    };
    if args.unattended {
        let request = DiskRequest { disk: disk.clone(), answer: None };
        return update::follow(console, Ask::InstallDisk(request, by)).await;
    }
    let request = update(Ask::Disks);
    let answer = ask(&connect().await?, &request).await?;
    let report = match Reply::parse(&request, answer)? {
        Reply::Update(answer) => match *answer {
            Answer::Disks(report) => report,
            other => return Err(Failure::Garbled(format!("{other:?}")).into()),
        },
        other => return Err(Failure::Garbled(format!("{other:?}")).into()),
    };
    // Which one cannot be taken, and why, is the daemon's to say.
    let (name, typed) = match meant(&report, disk) {
        Some(disk) if !args.yes => {
            let text = tr!(
                console.lang,
                "install-sure",
                disk = disk.name.as_str(),
                answer = disk.answer.as_str(),
                holds = holds(console.lang, disk)
            );
            return Err(Stop::Usage(text));
        }
        // What is written is the disk that was listed, and no other that has come under its name since.
        Some(disk) => (disk.name.clone(), disk.answer.clone()),
        None => (disk.clone(), String::new()),
    };
    let request = DiskRequest { disk: name, answer: Some(typed) };
    update::follow(console, Ask::InstallDisk(request, by)).await
}

/// The one disk that a person means.
fn meant<'a>(report: &'a DisksReport, wanted: &str) -> Option<&'a DiskView> {
    let is_meant = |disk: &&DiskView| {
        (wanted == "only" && !disk.brings)
            || [&disk.name, &disk.serial, &disk.model].into_iter().any(|own| own == wanted)
    };
    let mut found = report.disks.iter().filter(is_meant);
    found.next().filter(|_| found.next().is_none())
}

/// What is on a disk, in a line.
pub fn holds(lang: Lang, disk: &DiskView) -> String {
    if disk.holds.is_empty() { tr!(lang, "install-empty") } else { disk.holds.join(", ") }
}

/// Why a disk cannot be taken; empty where it can.
pub fn unfit(lang: Lang, disk: &DiskView) -> String {
    let Some(why) = &disk.unfit else { return String::new() };
    match why.code.as_str() {
        "in-use" => tr!(lang, "install-in-use", what = why.detail.as_str()),
        "read-only" => tr!(lang, "install-read-only"),
        "small" => tr!(lang, "install-small"),
        _ => why.detail.clone(),
    }
}

impl Console {
    /// The disks, and what to do next.
    pub fn disks(&self, report: &DisksReport) -> String {
        let lang = self.lang;
        let first = match &report.stick {
            Some(stick) => self.paint.tone(Tone::Warn, &tr!(lang, "install-live", stick = stick.as_str())),
            None => tr!(lang, "install-not-live"),
        };
        if report.disks.is_empty() {
            return format!("{first}\n{}\n", tr!(lang, "install-no-disks"));
        }
        let mut table = heads!(lang;
            "install-head-disk" Left, "install-head-size" Right, "install-head-model" Left,
            "install-head-serial" Left, "install-head-holds" Left, "install-head-why-not" Left);
        for disk in &report.disks {
            table.row([
                (disk.name.clone(), if disk.unfit.is_some() { Tone::Dim } else { Tone::Accent }),
                plain(bytes(lang, disk.size_bytes)),
                plain(&disk.model),
                dim(&disk.serial),
                plain(holds(lang, disk)),
                (unfit(lang, disk), Tone::Warn),
            ]);
        }
        format!("{first}\n\n{}", table.print(self.paint))
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::cli::table::Paint;
    use crate::cli::{Cli, Verb, command, line};
    use crate::fixtures;

    #[test]
    fn the_disks_are_listed_with_the_reasons_against_them() {
        let console =
            Console { lang: Lang::En, tz: TimeZone::UTC, paint: Paint { colour: false }, json: false };
        let text = console.disks(&fixtures::disks()).replace('\u{a0}', " ");
        for wanted in [
            "started from a stick (sda)",
            "nvme0n1",
            "240 GB",
            "INTEL SSDPEKKW256G7",
            "vda1 ext4 data",
            "too small",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        let none = DisksReport { version: 1, ..DisksReport::default() };
        assert!(console.disks(&none).contains("not started from a stick"));
    }

    #[test]
    fn a_disk_is_meant_by_one_of_its_names_or_by_being_alone() {
        let mut report = fixtures::disks();
        let name = |report: &DisksReport, wanted| meant(report, wanted).map(|disk| disk.name.clone());
        assert_eq!(name(&report, "BTPY7301"), Some("nvme0n1".into()));
        assert_eq!((name(&report, "only"), name(&report, "sdz")), (None, None));
        report.disks.truncate(2);
        report.disks[1].brings = true;
        assert_eq!(name(&report, "only"), Some("nvme0n1".into()));
    }

    #[test]
    fn the_verb_is_read_and_nothing_is_written_without_a_yes() {
        let verb = |words: &[&str]| {
            let words = [&["rempart", "install"][..], words].concat();
            let matches = command(Lang::En).try_get_matches_from(words).ok()?;
            match Cli::from_arg_matches(&matches).ok()?.verb? {
                Verb::Install(args) => Some(args),
                _ => None,
            }
        };
        assert_eq!(verb(&[]), Some(InstallArgs::default()));
        assert!(verb(&["vda"]).is_some_and(|args| !args.writes()));
        assert!(verb(&["vda", "--yes"]).is_some_and(|args| args.writes()));
        for wrong in
            [&["--yes"][..], &["vda", "--keep"], &["vda", "--yes", "--unattended"], &["--keep", "--restart"]]
        {
            assert_eq!(verb(wrong), None, "{wrong:?}");
        }
        // It shows how far it is, so it gets the terminal.
        let order = line::parse(Lang::En, "install vda --yes").expect("a verb").expect("a verb");
        assert!(order.asks);
    }
}
