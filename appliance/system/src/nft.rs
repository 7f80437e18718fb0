//! The program `nft`: applies scripts and reads back what the plan needs of our own table.
//!
//! What the ruleset says is decided in `rempart_plan::nft`. The kernel's listing is never taken for the policy;
//! read back are counters, names of objects, and the comment that says which revision is loaded.
//!
//! The crate `nftables` gives the types for the list of tables. Its runner does not capture the program's
//! messages and its counters have 32 bits, so the runner and the counters are ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nftables::schema::{NfListObject, NfObject, Nftables};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::SockProtocol;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::netlink::{Message, NFGEN, NLM_F_ACK, NetlinkError, Socket, attributes};

/// Most of the program's messages that is kept, in bytes: a script with a fault in every line repeats itself.
const MAX_MESSAGES: usize = 64 * 1024;
/// Most faults that are told apart.
const MAX_FAULTS: usize = 256;
/// Most of a listing that is read, in bytes: ten times a ruleset of 100,000 rules as JSON is not ours.
const MAX_LISTING: usize = 512 * 1024 * 1024;
/// How often a lock is tried that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(10);
/// The family of our table.
const FAMILY: &str = "inet";

/// Why `nft` did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program did not start.
    #[error("cannot run {program}: {source}; the ruleset in the kernel is as before")]
    Start {
        /// Its path.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Reading from or writing to the program failed.
    #[error("lost contact with nft: {0}; look at the ruleset before trying again")]
    Pipe(#[source] io::Error),
    /// The program was killed because it took too long.
    #[error("nft did not answer within {} s and was stopped; look at the ruleset before trying again", .0.as_secs())]
    Timeout(Duration),
    /// The script or the question was refused. A script that is refused has changed nothing.
    #[error("nft refused ({status}), nothing was changed: {}", summary(.faults, .stderr))]
    Refused {
        /// How the program ended.
        status: ExitStatus,
        /// What was wrong, by line of the script.
        faults: Vec<NftFault>,
        /// The beginning of the program's messages, unabridged.
        stderr: String,
    },
    /// The answer is longer than can be ours.
    #[error("nft's listing is longer than {0} bytes")]
    TooLong(usize),
    /// The answer cannot be read.
    #[error("cannot read nft's listing: {0}")]
    Json(#[from] serde_json::Error),
    /// The table's comment cannot be read.
    #[error("cannot read the table {table}: {problem}")]
    Table {
        /// Its name.
        table: String,
        /// What the kernel said.
        problem: String,
    },
}

fn summary(faults: &[NftFault], stderr: &str) -> String {
    match faults.first() {
        Some(first) => {
            let line = first.line.map(|l| format!("line {l}: ")).unwrap_or_default();
            let more = faults.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            format!("{line}{}{more}", first.message)
        }
        None => stderr.lines().next().unwrap_or("it did not say why").to_owned(),
    }
}

/// One fault that `nft` found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NftFault {
    /// The line of the script, from 1.
    pub line: Option<u32>,
    /// What is wrong with it.
    pub message: String,
}

/// A counter. 64 bits, unlike the crate's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The names of what a table holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Objects {
    /// The table's comment.
    pub comment: Option<String>,
    /// Chains.
    pub chains: BTreeSet<String>,
    /// Sets.
    pub sets: BTreeSet<String>,
    /// Maps.
    pub maps: BTreeSet<String>,
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Connection-tracking helpers.
    pub helpers: BTreeSet<String>,
    /// Named limits.
    pub limits: BTreeSet<String>,
    /// Flowtables.
    pub flowtables: BTreeSet<String>,
}

/// The tables of the namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables {
    /// Family and name.
    pub tables: Vec<(String, String)>,
    /// Set when the crate's types could not read the list and it was picked out by hand: why.
    pub fallback: Option<String>,
}

/// Runs `nft`.
#[derive(Clone, Debug)]
pub struct Nft {
    program: PathBuf,
    timeout: Duration,
    lock: Option<PathBuf>,
}

impl Nft {
    /// Runs `program`, a path or a name on the search path, for at most `timeout` each time.
    pub fn new(program: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self { program: program.into(), timeout, lock: None }
    }

    /// With a file that is locked for as long as a script is being applied, whoever lives to see its end. Without one
    /// that can be opened there is no lock.
    pub fn locked_by(self, file: impl Into<PathBuf>) -> Self {
        Self { lock: Some(file.into()), ..self }
    }

    /// Applies a script in one transaction: all of it or nothing.
    pub async fn apply(&self, script: &str) -> Result<(), NftError> {
        // The program has the locked file as its standard output, on which it says nothing here.
        let held = self.hold().await?;
        self.run(&["-f", "-"], script, held).await.map(drop)
    }

    /// Waits until a script that a process before this one was applying, when it was killed, is applied or refused:
    /// its `nft` lives on and would put the old process's policy over the new one's.
    pub async fn settle(&self) -> Result<(), NftError> {
        self.hold().await.map(drop)
    }

    async fn hold(&self) -> Result<Option<File>, NftError> {
        let Some(path) = &self.lock else { return Ok(None) };
        let file = match File::options().create(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "going on without a lock");
                return Ok(None);
            }
        };
        let end = Instant::now() + self.timeout;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => tokio::time::sleep(LOCK_POLL).await,
                Err(TryLockError::WouldBlock) => return Err(NftError::Timeout(self.timeout)),
                Err(TryLockError::Error(error)) => return Err(NftError::Pipe(error)),
            }
        }
    }

    /// Asks the kernel whether it would take the script. Changes nothing.
    pub async fn check(&self, script: &str) -> Result<(), NftError> {
        self.run(&["-c", "-f", "-"], script, None).await.map(drop)
    }

    /// The named counters of `table` (family inet).
    pub async fn counters(&self, table: &str) -> Result<BTreeMap<String, Counter>, NftError> {
        let listing = self.run(&["-j", "list", "counters", "table", FAMILY, table], "", None).await?;
        let listing: Listing = serde_json::from_slice(&listing)?;
        let counter = |item: Item| item.counter.map(|c| (c.name, c.value));
        Ok(listing.nftables.into_iter().filter_map(counter).collect())
    }

    /// What `table` (family inet) holds; `None` when there is no such table. Objects of kinds that are not known
    /// here are passed over.
    pub async fn objects(&self, table: &str) -> Result<Option<Objects>, NftError> {
        let Some(comment) = self.comment(table).await? else { return Ok(None) };
        let listing = match self.run(&["-j", "-t", "list", "table", FAMILY, table], "", None).await {
            Ok(listing) => listing,
            // Removed between the two questions.
            Err(NftError::Refused { .. }) if self.comment(table).await?.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let listing: Listing = serde_json::from_slice(&listing)?;
        let mut objects = Objects { comment, ..Objects::default() };
        for item in listing.nftables {
            let kinds = [
                (item.chain, &mut objects.chains),
                (item.set, &mut objects.sets),
                (item.map, &mut objects.maps),
                (item.counter.map(|c| Named { name: c.name }), &mut objects.counters),
                (item.helper, &mut objects.helpers),
                (item.limit, &mut objects.limits),
                (item.flowtable, &mut objects.flowtables),
            ];
            for (found, names) in kinds {
                names.extend(found.map(|n| n.name));
            }
        }
        Ok(Some(objects))
    }

    /// The comment of `table` (family inet): `None` when there is no such table, `Some(None)` when it has none.
    /// Asked of the kernel directly, because nft 1.0.6 leaves it out of its JSON.
    pub async fn comment(&self, table: &str) -> Result<Option<Option<String>>, NftError> {
        let failed =
            |e: &dyn std::fmt::Display| NftError::Table { table: table.to_owned(), problem: e.to_string() };
        let mut socket =
            Socket::open(SockProtocol::NetlinkNetFilter, 0, 64 * 1024).map_err(|e| failed(&e))?;
        let mut question =
            Message::netfilter(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE, NLM_F_ACK, NFPROTO_INET, 0);
        question.attr(NFTA_TABLE_NAME, &[table.as_bytes(), b"\0"].concat());
        let mut comment = None;
        let done = socket.dump(question, |raw| {
            let attrs = raw.payload.get(NFGEN..).unwrap_or(&[]);
            comment = attributes(attrs)
                .find(|(kind, _)| *kind == NFTA_TABLE_USERDATA)
                .and_then(|(_, d)| user_comment(d));
        });
        match done.await {
            Ok(()) => Ok(Some(comment)),
            Err(NetlinkError::Refused(Errno::ENOENT)) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// All tables of the namespace, those of other programs included.
    pub async fn tables(&self) -> Result<Tables, NftError> {
        let listing = self.run(&["-j", "list", "tables"], "", None).await?;
        match serde_json::from_slice::<Nftables<'_>>(&listing) {
            Ok(typed) => {
                let table = |object: &NfObject<'_>| match object {
                    NfObject::ListObject(NfListObject::Table(t)) => {
                        let family = serde_json::to_value(t.family).ok()?.as_str()?.to_owned();
                        Some((family, t.name.clone().into_owned()))
                    }
                    _ => None,
                };
                Ok(Tables { tables: typed.objects.iter().filter_map(table).collect(), fallback: None })
            }
            Err(problem) => {
                let listing: Listing = serde_json::from_slice(&listing)?;
                let tables = listing
                    .nftables
                    .into_iter()
                    .filter_map(|i| i.table)
                    .map(|t| (t.family, t.name))
                    .collect();
                Ok(Tables { tables, fallback: Some(problem.to_string()) })
            }
        }
    }

    async fn run(&self, arguments: &[&str], input: &str, held: Option<File>) -> Result<Vec<u8>, NftError> {
        match tokio::time::timeout(self.timeout, self.talk(arguments, input, held)).await {
            Ok(done) => done,
            // The child is killed when its handle is dropped, which the timeout has just done.
            Err(_elapsed) => Err(NftError::Timeout(self.timeout)),
        }
    }

    async fn talk(&self, arguments: &[&str], input: &str, held: Option<File>) -> Result<Vec<u8>, NftError> {
        let input =
            if input.is_empty() { Stdio::null() } else { script(input).map_err(NftError::Pipe)?.into() };
        let started = Command::new(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(input)
            .stdout(held.map_or_else(Stdio::piped, Stdio::from))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = started
            .map_err(|source| NftError::Start { program: self.program.display().to_string(), source })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Both at once: with a full pipe on either side both programs would wait for ever.
        let (listing, messages) =
            tokio::join!(read_up_to(stdout, MAX_LISTING), read_up_to(stderr, MAX_MESSAGES));
        let status = child.wait().await.map_err(NftError::Pipe)?;
        let (listing, whole) = listing.map_err(NftError::Pipe)?;
        let (messages, _) = messages.map_err(NftError::Pipe)?;
        let stderr = String::from_utf8_lossy(&messages).into_owned();
        if !status.success() {
            return Err(NftError::Refused { status, faults: faults(&stderr), stderr });
        }
        if !stderr.trim().is_empty() {
            tracing::warn!(messages = stderr.trim(), "nft has warned");
        }
        if whole { Ok(listing) } else { Err(NftError::TooLong(MAX_LISTING)) }
    }
}

/// A script that the program finds whole, whenever it reads: at the end of a pipe whose writer was killed it would take
/// the beginning of the script for all of it, and that may be one that empties the table.
fn script(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"nft", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Reads to the end, keeps the first `limit` bytes, and says whether that was all.
async fn read_up_to(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<(Vec<u8>, bool)> {
    let Some(mut pipe) = pipe else { return Ok((Vec::new(), true)) };
    let mut kept = Vec::new();
    let mut whole = true;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = pipe.read(&mut buffer).await?;
        if len == 0 {
            return Ok((kept, whole));
        }
        let room = limit.saturating_sub(kept.len()).min(len);
        whole &= room == len;
        kept.extend_from_slice(buffer.get(..room).unwrap_or(&[]));
    }
}

/// The faults in nft's messages: `/dev/stdin:LINE:COL-COL: Error: message`, or without a place. The lines between
/// repeat the script and point at the place.
fn faults(stderr: &str) -> Vec<NftFault> {
    let fault = |text: &str| {
        if let Some(message) = text.strip_prefix("Error: ") {
            return Some(NftFault { line: None, message: message.to_owned() });
        }
        let (place, message) = text.split_once(": Error: ")?;
        let mut parts = place.rsplit(':');
        let _columns = parts.next()?;
        let line = parts.next().and_then(|l| l.parse().ok());
        Some(NftFault { line, message: message.to_owned() })
    };
    stderr.lines().filter_map(fault).take(MAX_FAULTS).collect()
}

// linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFT_MSG_GETTABLE: u8 = 1;
const NFPROTO_INET: u8 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
/// libnftnl/udata.h
const NFTNL_UDATA_TABLE_COMMENT: u8 = 0;

/// The comment among a table's user data: type, length, value with a final NUL, one after the other.
fn user_comment(data: &[u8]) -> Option<String> {
    let mut rest = data;
    while let [kind, len, tail @ ..] = rest {
        let value = tail.get(..usize::from(*len))?;
        if *kind == NFTNL_UDATA_TABLE_COMMENT {
            let text = value.strip_suffix(b"\0").unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = tail.get(usize::from(*len)..)?;
    }
    None
}

/// What nft's JSON says, as far as it is of use; everything else is passed over.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Item>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item {
    table: Option<TableItem>,
    chain: Option<Named>,
    set: Option<Named>,
    map: Option<Named>,
    counter: Option<CounterItem>,
    #[serde(rename = "ct helper")]
    helper: Option<Named>,
    limit: Option<Named>,
    flowtable: Option<Named>,
}

#[derive(Deserialize)]
struct TableItem {
    family: String,
    name: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct CounterItem {
    name: String,
    #[serde(flatten)]
    value: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nft's own messages in; lines and messages out, the excerpts left out.
    #[test]
    fn faults_carry_the_line_of_the_script() {
        let stderr = "/dev/stdin:2:17-23: Error: Could not process rule: No such file or directory\n\
                      add rule inet y nochain accept\n                ^^^^^^^\n\
                      /dev/stdin:14:1-1: Error: syntax error, unexpected end of file\n\
                      Error: Operation not permitted\n";
        let fault = |line, message: &str| NftFault { line, message: message.to_owned() };
        let want = [
            fault(Some(2), "Could not process rule: No such file or directory"),
            fault(Some(14), "syntax error, unexpected end of file"),
            fault(None, "Operation not permitted"),
        ];
        assert_eq!(faults(stderr), want);
    }

    /// A listing with a counter beyond 32 bits and objects of unknown kinds in; what is known out.
    #[test]
    fn unknown_objects_are_passed_over() {
        let text = r#"{"nftables": [{"metainfo": {"version": "9"}}, {"tunnel": {"name": "x"}},
            {"counter": {"family": "inet", "name": "c", "table": "t", "handle": 2, "packets": 5, "bytes": 9999999999}},
            {"rule": {"expr": [{"counter": "c"}]}}, {"ct helper": {"name": "ftp"}}, {"ct timeout": {"name": "n"}}]}"#;
        let listing: Listing = serde_json::from_str(text).expect("readable");
        let counters: Vec<_> = listing.nftables.iter().filter_map(|i| i.counter.as_ref()).collect();
        assert_eq!(counters[0].value, Counter { packets: 5, bytes: 9_999_999_999 });
        assert_eq!(listing.nftables.iter().filter(|i| i.helper.is_some()).count(), 1);
    }

    #[test]
    fn the_comment_is_found_among_user_data() {
        assert_eq!(user_comment(b"\x07\x01x\x00\x04rev\x00"), Some("rev".into()));
        assert_eq!(user_comment(b"\x00\x09rev"), None);
        assert_eq!(user_comment(b""), None);
    }
}
