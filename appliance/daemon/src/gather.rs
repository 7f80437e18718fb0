//! Gathering facts: what the plan depends on besides the document. Each source is a task that reports to the
//! control loop when its fact changes; none of them decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rempart_config::Model;
use rempart_config::model::{Device, Fqdn, InterfaceName, Name};
use rempart_config::space::AddressSet;
use rempart_plan::Lease;
use rempart_system::dhcp::{Dhcp, Options};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How often names are looked up again.
const NAMES_EVERY: Duration = Duration::from_secs(60);
/// How soon a name is looked up again that was not found.
const NAMES_RETRY: Duration = Duration::from_secs(10);
/// How long one look-up may take.
const NAME_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files of block lists are looked at.
const LISTS_EVERY: Duration = Duration::from_secs(10);
/// Most addresses that one name may resolve to.
const MAX_ADDRESSES: usize = 256;
/// Largest block list, in bytes: about two million lines.
pub const MAX_LIST_BYTES: u64 = 64 << 20;
/// Most lines of a block list that are named when they cannot be read.
const MAX_BAD_LINES: usize = 3;
/// How many facts may wait for the control loop.
const QUEUE: usize = 64;

/// A fact that changed.
#[derive(Debug)]
pub enum News {
    /// A lease, or its end.
    Lease(InterfaceName, Option<Lease>),
    /// What a name resolves to; an error keeps the last good answer.
    Name(Fqdn, Result<Vec<IpAddr>, String>),
    /// What a block list holds, and what about its file is amiss; an error keeps the last good content.
    List(Name, Result<List, String>),
}

/// The content of a block list's file.
#[derive(Clone, Debug)]
pub struct List {
    /// The addresses.
    pub addresses: Arc<AddressSet>,
    /// What could not be read.
    pub complaint: Option<String>,
}

/// The running sources of one model.
#[derive(Debug)]
pub struct Gatherer {
    sender: mpsc::Sender<News>,
    clients: BTreeMap<(InterfaceName, Device), JoinHandle<()>>,
    names: Option<(BTreeSet<Fqdn>, JoinHandle<()>)>,
    lists: BTreeMap<(Name, PathBuf), JoinHandle<()>>,
}

impl Gatherer {
    /// A gatherer without sources, and where its news arrive.
    pub fn new() -> (Self, mpsc::Receiver<News>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender, clients: BTreeMap::new(), names: None, lists: BTreeMap::new() }, receiver)
    }

    /// Starts the sources that `model` needs and ends the others. Those that stay are not disturbed.
    pub fn follow(
        &mut self,
        model: &Model,
        dhcp: &BTreeMap<InterfaceName, Device>,
        leases: &BTreeMap<InterfaceName, Lease>,
        host_name: &str,
    ) {
        let wanted: BTreeSet<_> = dhcp.iter().map(|(i, d)| (i.clone(), d.clone())).collect();
        retain(&mut self.clients, |key| wanted.contains(key));
        for key in wanted {
            let sender = self.sender.clone();
            self.clients.entry(key.clone()).or_insert_with(|| {
                let previous = leases.get(&key.0).map(|l| l.address.addr());
                let previous = previous.and_then(|a| match a {
                    IpAddr::V4(a) => Some(a),
                    IpAddr::V6(_) => None,
                });
                let options = Options { host_name: Some(host_name.to_owned()), previous };
                tokio::spawn(follow_lease(key.0, key.1, options, sender))
            });
        }

        let names = names_in(model);
        if self.names.as_ref().is_none_or(|(known, _)| *known != names) {
            if let Some((_, task)) = self.names.take() {
                task.abort();
            }
            if !names.is_empty() {
                let task = tokio::spawn(follow_names(names.clone(), self.sender.clone()));
                self.names = Some((names, task));
            }
        }

        let wanted: BTreeSet<_> =
            model.blocklists.iter().map(|(n, l)| (n.clone(), PathBuf::from(&l.file))).collect();
        retain(&mut self.lists, |key| wanted.contains(key));
        for key in wanted {
            let sender = self.sender.clone();
            self.lists.entry(key.clone()).or_insert_with(|| tokio::spawn(follow_list(key.0, key.1, sender)));
        }
    }
}

fn retain<K: Ord>(tasks: &mut BTreeMap<K, JoinHandle<()>>, keep: impl Fn(&K) -> bool) {
    tasks.retain(|key, task| {
        let keep = keep(key);
        if !keep {
            task.abort();
        }
        keep
    });
}

/// The names that the model looks up.
pub fn names_in(model: &Model) -> BTreeSet<Fqdn> {
    let flows = model.flows.iter().flat_map(|f| f.from.iter().chain(&f.to));
    let nat = model.nat.source.iter().flat_map(|s| s.from.iter().chain(&s.to));
    let checks = model.checks.iter().flat_map(|c| c.from.iter().chain(&c.to));
    let vpn = model.vpn.iter();
    let controllers = vpn.clone().filter_map(|v| v.directory.as_ref()).flat_map(|d| &d.controllers);
    let servers = vpn.filter_map(|v| v.radius.as_ref()).flat_map(|r| &r.servers);
    let asked = controllers.map(|(_, hosts)| hosts).chain(servers);
    let hosts = flows.chain(nat).chain(checks).map(|e| &e.hosts).chain(asked);
    hosts.flat_map(|hosts| hosts.names.iter().cloned()).collect()
}

async fn follow_lease(
    interface: InterfaceName,
    device: Device,
    options: Options,
    sender: mpsc::Sender<News>,
) {
    let mut client = Dhcp::start(device, options);
    loop {
        let lease = client.next().await;
        if sender.send(News::Lease(interface.clone(), lease)).await.is_err() {
            return;
        }
    }
}

async fn follow_names(names: BTreeSet<Fqdn>, sender: mpsc::Sender<News>) {
    loop {
        let mut all_found = true;
        for name in &names {
            let answer = look_up(name).await;
            all_found &= answer.is_ok();
            if sender.send(News::Name(name.clone(), answer)).await.is_err() {
                return;
            }
        }
        sleep(if all_found { NAMES_EVERY } else { NAMES_RETRY }).await;
    }
}

async fn look_up(name: &Fqdn) -> Result<Vec<IpAddr>, String> {
    let question = tokio::net::lookup_host((name.as_str(), 0));
    match timeout(NAME_TIMEOUT, question).await {
        Err(_) => Err("no answer from the name servers".into()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(answer)) => {
            let addresses: BTreeSet<IpAddr> = answer.map(|a| a.ip()).take(MAX_ADDRESSES).collect();
            Ok(addresses.into_iter().collect())
        }
    }
}

async fn follow_list(name: Name, path: PathBuf, sender: mpsc::Sender<News>) {
    let mut known: Option<(SystemTime, u64)> = None;
    let mut failed = false;
    loop {
        let news = match tokio::fs::metadata(&path).await {
            Ok(about) => {
                let version = (about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len());
                if known == Some(version) {
                    sleep(LISTS_EVERY).await;
                    continue;
                }
                known = Some(version);
                failed = false;
                read_list(path.clone()).await
            }
            Err(_) if failed => {
                sleep(LISTS_EVERY).await;
                continue;
            }
            Err(error) => {
                failed = true;
                known = None;
                Err(error.to_string())
            }
        };
        if sender.send(News::List(name.clone(), news)).await.is_err() {
            return;
        }
        sleep(LISTS_EVERY).await;
    }
}

/// Reads the file of a block list.
pub async fn read_list(path: PathBuf) -> Result<List, String> {
    let read = move || {
        let length = std::fs::metadata(&path).map_err(|e| e.to_string())?.len();
        if length > MAX_LIST_BYTES {
            return Err(format!("larger than {} MiB", MAX_LIST_BYTES >> 20));
        }
        std::fs::read_to_string(&path).map(|text| parse_list(&text)).map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(read).await.map_err(|e| e.to_string())?
}

/// Understands a block list: one address, network or range a line; `#` and `;` start comments.
pub fn parse_list(text: &str) -> List {
    let mut sets = Vec::new();
    let (mut bad, mut examples) = (0, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let words = line.split(['#', ';']).next().unwrap_or("").trim();
        if words.is_empty() {
            continue;
        }
        match rempart_config::addresses(words) {
            Ok(set) => sets.push(set),
            Err(_) => {
                bad += 1;
                if examples.len() < MAX_BAD_LINES {
                    examples.push(number.to_string());
                }
            }
        }
    }
    let complaint = (bad > 0).then(|| {
        format!(
            "{bad} lines hold no address, network or range (line {}); the others count",
            examples.join(", ")
        )
    });
    List { addresses: Arc::new(AddressSet::union_of(&sets)), complaint }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document whose flows, directory and RADIUS each name a host; all of them are looked up.
    #[test]
    fn whoever_is_asked_about_logins_is_looked_up() {
        let model = rempart_config::read(
            "version = 1\nnode = 'fw'\n[interface.wan]\ndevice = 'e0'\nzone = 'wan'\naddress = '203.0.113.2/24'\n\
             [host]\nout = 'out.example'\ndc1 = 'dc1.example'\n\
             [[flow]]\nfrom = 'vpn'\nto = 'wan:out'\nallow = ['ssh']\n[vpn.group.g]\npool = '10.77.0.0/24'\n\
             [vpn.directory]\ndomain = 'example'\ncontrollers = ['dc1', 'dc2.example']\nauthority = 'ca'\n\
             [vpn.radius]\nservers = ['192.0.2.1', 'radius.example']\nsecret = 's'\n",
        );
        let names = names_in(&model.model.expect("a model"));
        let names: Vec<&str> = names.iter().map(Fqdn::as_str).collect();
        assert_eq!(names, ["dc1.example", "dc2.example", "out.example", "radius.example"]);
    }

    /// Comments, ranges and both families go in; what is no address is counted and named.
    #[test]
    fn a_list_is_read_line_by_line() {
        let list = parse_list(
            "# feed\n198.51.100.0/24 ; net\n203.0.113.9\n2001:db8::/32\nnonsense\n\n10.0.0.1-10.0.0.9\n",
        );
        assert!(list.addresses.contains("198.51.100.77".parse().expect("address")));
        assert!(list.addresses.contains("10.0.0.5".parse().expect("address")));
        assert!(list.addresses.contains("2001:db8::1".parse().expect("address")));
        assert!(!list.addresses.contains("10.0.0.10".parse().expect("address")));
        assert!(list.complaint.expect("complaint").contains("line 5"));
    }
}
