//! What is timed and weighed in a process of its own, so that its peak of memory is its own: this program again,
//! with `--measure`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rempart_kernel_tests::node::{Failure, in_namespace};
use rempart_plan::nft::{Base, TABLE};
use rempart_plan::{Facts, Ids};
use rempart_system::nft::Nft;
use serde::{Deserialize, Serialize};

use crate::policy;

const NFT_TIMEOUT: Duration = Duration::from_secs(300);

/// What is measured in a process of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Reading and planning the document in the first file.
    Plan,
    /// Applying the plan of the document in the first file, from an empty table.
    Apply,
    /// Going from the first document to the second, read and planned anew.
    Change,
    /// Applying a document with this many prefixes on its block list.
    Blocklist(usize),
    /// `nft -f` of the first file.
    Nft,
    /// `nft -c -f` of the first file.
    NftCheck,
    /// After `nft -f` of the first file: replacing the last rule of its chain by its handle.
    NftReplace,
}

/// Time and memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds.
    pub seconds: f64,
    /// Peak of memory of this program, in MiB.
    pub own_mib: f64,
    /// Peak of memory of the largest `nft`, in MiB.
    pub nft_mib: f64,
}

/// Has `task` done by another process.
pub fn measure(task: Task, files: &[&str]) -> Result<Cost, Failure> {
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .arg("--measure")
        .arg(serde_json::to_string(&task)?)
        .args(files)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{task:?} failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Does it: the other process.
pub fn serve(task: &str, files: &[String]) -> Result<(), Failure> {
    let task: Task = serde_json::from_str(task)?;
    let texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let took = in_namespace(move || async move { timed(task, texts).await });
    let seconds = took.ok_or("not root")??.as_secs_f64();
    let mib = |who| getrusage(who).map(|u| u.max_rss() as f64 / 1024.0);
    let cost =
        Cost { seconds, own_mib: mib(UsageWho::RUSAGE_SELF)?, nft_mib: mib(UsageWho::RUSAGE_CHILDREN)? };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

async fn timed(task: Task, texts: Vec<String>) -> Result<Duration, Failure> {
    let nft = Nft::new("nft", NFT_TIMEOUT);
    let mut texts = texts.into_iter();
    let first = texts.next().unwrap_or_default();
    let begin = Instant::now;
    match task {
        Task::Plan => {
            let begin = begin();
            let policy = policy::plan(first, Facts::default(), Ids::default())?;
            let took = begin.elapsed();
            drop(policy);
            Ok(took)
        }
        Task::Apply => {
            let policy = policy::plan(first, Facts::default(), Ids::default())?;
            let begin = begin();
            nft.apply(&policy.plan.ruleset.script().text).await?;
            Ok(begin.elapsed())
        }
        Task::Change => {
            let old = policy::plan(first, Facts::default(), Ids::default())?;
            nft.apply(&old.plan.ruleset.script().text).await?;
            let begin = begin();
            let new = policy::plan(texts.next().unwrap_or_default(), Facts::default(), old.ids.clone())?;
            for script in new.plan.ruleset.scripts(Base::Ruleset(&old.plan.ruleset)).list {
                nft.apply(&script.text).await?;
            }
            let took = begin.elapsed();
            let objects = nft.objects(TABLE).await?.ok_or("the table is gone")?;
            match objects.chains.contains(&new.plan.ruleset.stamp()) {
                true => Ok(took),
                false => Err("the change is not in force".into()),
            }
        }
        Task::Blocklist(count) => {
            let policy = policy::plan(first, policy::blocked(count), Ids::default())?;
            let begin = begin();
            nft.apply(&policy.plan.ruleset.script().text).await?;
            Ok(begin.elapsed())
        }
        Task::Nft => {
            let begin = begin();
            nft.apply(&first).await?;
            Ok(begin.elapsed())
        }
        Task::NftCheck => {
            let begin = begin();
            nft.check(&first).await?;
            Ok(begin.elapsed())
        }
        Task::NftReplace => {
            nft.apply(&first).await?;
            let handle = last_handle()?;
            let rule = texts.next().unwrap_or_default();
            let begin = begin();
            nft.apply(&format!("replace rule inet {} forward handle {handle} {rule}\n", policy::LINEAR))
                .await?;
            Ok(begin.elapsed())
        }
    }
}

/// The handle of the last rule of the linear chain.
fn last_handle() -> Result<u64, Failure> {
    let output =
        Command::new("nft").args(["-a", "list", "chain", "inet", policy::LINEAR, "forward"]).output()?;
    let listing = String::from_utf8(output.stdout)?;
    let mut handles = listing.lines().filter_map(|l| l.rsplit_once("# handle ")?.1.trim().parse().ok());
    Ok(handles.next_back().ok_or("no rule")?)
}
