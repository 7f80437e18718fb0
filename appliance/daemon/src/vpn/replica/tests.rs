use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rempart_openvpn::data::epoch::{Imported, NoRange, Origin, Persisted, Record, TakeOverEpoch};
use rempart_openvpn::data::keys::{BLOCK, DataKeys, End, KeyId};

use super::*;

const SOON: Duration = Duration::from_secs(5);
const KEY: [u8; 4] = [0, 0, 0, 7];

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("rempart-replica-{}-{number}", std::process::id())))
    }

    fn start(&self) -> (Arc<Handle>, Receiver<FromReplica>) {
        let (out, news) = channel();
        let out = Mutex::new(out);
        let config = Config {
            folder: self.0.join("vpn"),
            run: self.0.join("run"),
            relay: None,
            parity: Parity::Even,
            tell: Arc::new(move |news| drop(out.lock().unwrap().send(news))),
        };
        // The one before may be on its way out.
        let mut started = start_once(&config);
        for _ in 0..200 {
            if !matches!(started, Err(StartError::InUse(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            started = start_once(&config);
        }
        (started.expect("it starts"), news)
    }

    /// Waits until the program before has ended, and writes nothing any more.
    fn wait_for_end(&self) {
        let free = || disk::Epochs::open(&self.0.join("vpn")).is_ok();
        assert!((0..500).any(|_| free() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }));
    }

    fn wait_for(&self, file: &str) {
        let path = self.0.join(file);
        for _ in 0..200 {
            if path.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no {}", path.display());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start_once(config: &Config) -> Result<Arc<Handle>, StartError> {
    start(Config {
        folder: config.folder.clone(),
        run: config.run.clone(),
        relay: config.relay.clone(),
        parity: config.parity,
        tell: Arc::clone(&config.tell),
    })
}

type Sessions = Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>;

fn active(news: &Receiver<FromReplica>) -> (Box<Persisted<TakeOverEpoch>>, Sessions) {
    match news.recv_timeout(SOON).expect("it becomes active") {
        FromReplica::Active { reign, peer: None, sessions } => (reign, sessions),
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// In: a single box whose program ends and starts again. Out: active at once, changes committed at once; then the sessions are there, under
/// another epoch, with a range of their own for the keys that were made before.
#[test]
fn a_lone_node_gets_its_sessions_back_under_another_epoch() {
    let folder = Folder::new();
    let (replica, news) = folder.start();
    let (reign, sessions) = active(&news);
    assert_eq!((reign.epoch().get(), sessions.len()), (2, 0));
    let (reign, _) = reign.take_over(&[]);
    let mut keys = DataKeys::derived(KeyId::of(0), &[7; BLOCK], End::Server);
    let (origin, mut made) = reign.make(&mut keys, None).expect("it is fresh");
    let ticket = replica.put(Kind::Session, &KEY, Zeroizing::new(b"a session".to_vec()));
    replica.put(Kind::Store, b"", Zeroizing::new(b"people".to_vec()));
    assert!(matches!(news.recv_timeout(SOON), Ok(FromReplica::Committed(done)) if done == ticket));
    folder.wait_for("run/sessions");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(mode(&folder.0.join("run/sessions")), 0o600);
    assert_eq!(mode(&folder.0.join("run")), 0o700);
    let status = replica.status();
    assert_eq!((status.state, status.active, status.entries), (ReplicaState::Alone, true, 2));
    drop(replica);

    let (_replica, news) = folder.start();
    let (reign, sessions) = active(&news);
    assert_eq!(reign.epoch().get(), 4, "an epoch of its own");
    assert_eq!(
        sessions,
        [(KEY.to_vec(), Zeroizing::new(b"a session".to_vec()))],
        "people are not in the file"
    );
    let (_, mut ranges) = reign.take_over(&[Imported::new(origin, &keys)]);
    let first = ranges.remove(0).expect("it is of this store, and earlier").take().expect("an id");
    assert!(first > made.take().expect("an id") + (1 << 28), "far from those that may have been used");
}

/// In: a record of epochs that is damaged, and one that is gone. Out: another store, for which keys made before give no range.
#[test]
fn a_damaged_record_is_another_store() {
    let folder = Folder::new();
    let (replica, news) = folder.start();
    let (reign, _) = active(&news).0.take_over(&[]);
    let mut keys = DataKeys::derived(KeyId::of(0), &[7; BLOCK], End::Server);
    let (origin, _): (Origin, _) = reign.make(&mut keys, None).expect("it is fresh");
    drop(replica);
    let file = folder.0.join("vpn/epoch");
    let before = Record::decode(&fs::read(&file).expect("a record")).expect("whole");
    for damage in [Some(b"nonsense".as_slice()), None] {
        folder.wait_for_end();
        match damage {
            Some(bytes) => fs::write(&file, bytes).expect("a file"),
            None => fs::remove_file(&file).expect("a file"),
        }
        let (replica, news) = folder.start();
        let (reign, _) = active(&news);
        let after = Record::decode(&fs::read(&file).expect("a record")).expect("whole");
        assert_ne!(after.store, before.store);
        assert_eq!(after.highest, reign.epoch(), "on the disk before anybody is told");
        let (_, ranges) = reign.take_over(&[Imported::new(origin, &keys)]);
        assert!(matches!(ranges.as_slice(), [Err(NoRange::OtherStore)]), "{ranges:?}");
        drop(replica);
    }
}

/// In: a second program on the same record. Out: it does not start, for it would draw the same epochs.
#[test]
fn two_programs_do_not_share_a_record() {
    let folder = Folder::new();
    let (_replica, news) = folder.start();
    active(&news);
    let config = Config {
        folder: folder.0.join("vpn"),
        run: folder.0.join("run"),
        relay: None,
        parity: Parity::Even,
        tell: Arc::new(|_| ()),
    };
    assert!(matches!(start(config), Err(StartError::InUse(_))));
}

/// In: a copy of the sessions with a byte changed. Out: it is left alone.
#[test]
fn a_damaged_copy_of_the_sessions_is_left_alone() {
    let folder = Folder::new();
    let (replica, news) = folder.start();
    active(&news);
    replica.put(Kind::Session, &KEY, Zeroizing::new(vec![1; 100]));
    folder.wait_for("run/sessions");
    std::thread::sleep(Duration::from_millis(300));
    drop(replica);
    let (replica, news) = folder.start();
    assert_eq!(active(&news).1.len(), 1);
    drop(replica);
    folder.wait_for_end();
    let file = folder.0.join("run/sessions");
    let mut bytes = fs::read(&file).expect("a file");
    bytes[60] ^= 1;
    fs::write(&file, bytes).expect("a file");
    let (_replica, news) = folder.start();
    assert_eq!(active(&news).1.len(), 0);
}

/// In: more changes than there is room for, while nobody takes them. Out: what is beyond is refused, and its ticket still comes.
#[test]
fn the_inbox_is_bounded() {
    let mut wanted = Wanted::default();
    for ticket in 1..=MAX_WAITING as u64 + 10 {
        let key = rempart_pair::shared::Key { kind: 0, name: Vec::new() };
        wanted.push(Change::Put(key, Zeroizing::default(), ticket), Some(ticket));
    }
    assert_eq!((wanted.changes.len(), wanted.refused), (MAX_WAITING + 1, 10));
    assert!(
        matches!(wanted.changes.back(), Some(Change::Refused(ticket)) if *ticket == MAX_WAITING as u64 + 10)
    );
}
