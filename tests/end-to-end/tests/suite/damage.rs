//! Files that a failing disk tore, and a disk that takes no more.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use rempart_end_to_end::{Document, Stage, small};
use rempart_lab::skip_unless_root;

fn variant(port: u16) -> Document {
    small().flow("web", "lan", "dmz:server", &format!("allow = [\"tcp/{port}\"]"))
}

/// Stops the daemon, lets `damage` loose on its state, and starts it into a kernel that forgot the table, as after a restart of the machine.
fn restart_after(stage: &mut Stage, damage: impl FnOnce(&Path)) {
    stage.node.daemon().expect("a daemon").signal(Signal::SIGKILL).expect("it runs");
    stage.node.daemon().expect("a daemon").kill();
    damage(&stage.node.state_dir());
    stage.node.host().must(&["nft", "delete", "table", "inet", "rempart"]).expect("no table");
    stage.start();
}

/// In: each file of the state cut short, empty, or full of rubbish, one after the other. Out: the daemon comes back each time into the last
/// good revision and says what it set aside.
#[test]
fn torn_files_never_keep_it_from_its_revision() {
    skip_unless_root!();
    let mut stage = Stage::up(&variant(80));
    stage.commit(&variant(81));
    let before = stage.settled();
    let cut = |path: &Path| {
        let text = fs::read(path).expect("a file");
        fs::write(path, &text[..text.len() / 2]).expect("cut");
    };
    let rubbish: &[u8] = b"\xff\xfe\0{]";
    let helpers = ["ids.json", "candidate.toml", "pending.json", "journal.json", "facts.json"];
    for name in helpers {
        restart_after(&mut stage, |state| fs::write(state.join(name), rubbish).expect("rubbish"));
        assert_eq!(stage.revision(), 2, "{name}");
        let changed = before.difference(&stage.settled());
        assert!(changed.is_empty(), "{name}: {changed:#?}");
        // What is a help and not a need goes without a word.
        let said = stage.faults().iter().any(|f| f.contains(name));
        assert!(said || name == "facts.json", "{name}: {:?}", stage.faults());
        stage.commit(&variant(81));
        stage.node.must(&["rollback", "2"]).expect("commits work again");
        restart_after(&mut stage, |state| {
            fs::remove_dir_all(state.join("revisions/3")).expect("a revision");
            fs::remove_dir_all(state.join("revisions/4")).expect("a revision");
            fs::write(state.join("current"), "2\n").expect("current");
        });
    }
    restart_after(&mut stage, |state| cut(&state.join("ids.json")));
    assert_eq!(stage.revision(), 2);

    // Which revision is the committed one is lost: the newest whole one stands.
    for content in [&b""[..], b"\xff\xff", b"99\n"] {
        restart_after(&mut stage, |state| fs::write(state.join("current"), content).expect("rubbish"));
        assert_eq!(stage.revision(), 2, "{content:?}");
        assert!(
            stage.faults().iter().any(|f| f.contains("current") || f.contains("99")),
            "{:?}",
            stage.faults()
        );
        let changed = before.difference(&stage.settled());
        assert!(changed.is_empty(), "{changed:#?}");
    }

    // A revision begun and not finished, and one that is damaged, do not count; the history shows the rest.
    restart_after(&mut stage, |state| {
        fs::write(state.join("current"), "2\n").expect("current");
        fs::create_dir_all(state.join("revisions/3")).expect("a folder");
        fs::write(state.join("revisions/3/document.toml"), "version = 1\n").expect("a document");
        fs::write(state.join("revisions/1/about.json"), "{").expect("rubbish");
    });
    assert_eq!(stage.revision(), 2);
    assert!(stage.history().iter().any(|r| r.number == 2 && r.current), "{:?}", stage.history());
    stage.commit(&variant(82));

    // The document of the committed revision itself: the one before it is better than none.
    let committed = stage.revision();
    restart_after(&mut stage, |state| {
        fs::write(state.join(format!("revisions/{committed}/document.toml")), b"ver").expect("rubbish");
    });
    assert_eq!(stage.revision(), 2, "{:?}", stage.faults());
    assert!(stage.faults().iter().any(|f| f.contains(&committed.to_string())), "{:?}", stage.faults());
    let changed = before.difference(&stage.settled());
    assert!(changed.is_empty(), "{changed:#?}");
}

/// In: a state folder that cannot be written, then one on a full disk. Out: the commit is refused with the reason and nothing changes.
#[test]
fn a_disk_that_takes_no_more_refuses_the_commit() {
    skip_unless_root!();
    // On a small file system of its own, which goes with the daemon's mount namespace.
    let mut stage = Stage::bare(&variant(80));
    stage.stop();
    let state = stage.node.state_dir();
    let path = state.to_str().expect("a path").to_owned();
    let mount = |words: &[&str]| {
        let output = std::process::Command::new("mount").args(words).output().expect("mount runs");
        assert!(output.status.success(), "{output:?}");
    };
    mount(&["-t", "tmpfs", "-o", "size=512k", "rempart-end-to-end", &path]);
    let _unmount = Unmount(path.clone());
    stage.start();
    stage.commit(&variant(80));
    let (before, revision) = (stage.settled(), stage.revision());

    mount(&["-o", "remount,ro", &path]);
    let said = stage.refused(&variant(81), &[]);
    assert!(said.contains("Read-only") && said.contains(&path), "{said}");
    stage.assert_unchanged(&before, "refused");
    assert_eq!(stage.revision(), revision);
    mount(&["-o", "remount,rw", &path]);

    // Every size of what is left of the disk: the commit fails at another file each time, or succeeds.
    let filler = state.join("filler");
    let mut refused = 0;
    for left in (0..12).map(|pages| pages * 4096) {
        fs::write(&filler, b"").expect("room");
        fill(&filler, left);
        let (before, revision) = (stage.settled(), stage.revision());
        let port = 90 + (left / 4096) as u16;
        let output = stage.try_commit(&variant(port), &[], None);
        if output.status.success() {
            assert_eq!(stage.revision(), revision + 1);
            continue;
        }
        refused += 1;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("No space left"), "{left}: {said}");
        stage.assert_unchanged(&before, &format!("{left} bytes left: {said}"));
        assert_eq!(stage.revision(), revision);
        assert!(stage.status().pending.is_none());
    }
    assert!(refused > 0);
    fs::remove_file(&filler).expect("room again");
    stage.commit(&variant(82));
    stage.node.daemon().expect("a daemon").kill();
    stage.start();
    assert_eq!(
        stage.node.must(&["show", &stage.revision().to_string()]).expect("a document"),
        variant(82).text()
    );
    stage.stop();
}

/// Fills the disk but for `left` bytes.
fn fill(file: &Path, left: usize) {
    use std::io::Write as _;
    let mut out = fs::File::options().append(true).open(file).expect("a file");
    while out.write_all(&[0; 4096]).is_ok() {}
    let full = out.metadata().expect("a size").len();
    out.set_len(full.saturating_sub(left as u64) / 4096 * 4096).expect("room");
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: the daemon, which is ended after this, may still have it open.
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).output();
    }
}
