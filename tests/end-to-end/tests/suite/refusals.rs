//! A commit that is refused changes nothing (I6).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rempart_end_to_end::{Document, Stage, datatel, small};
use rempart_lab::skip_unless_root;

fn good() -> Document {
    small().flow("admin", "lan:desk", "firewall", "allow = [\"ssh\"]")
}

/// Another address, another route, another flow: every kind of step.
fn other() -> Document {
    good()
        .replace("\"192.168.20.254/24\"", "\"192.168.20.253/24\"")
        .and("[[route]]\nto = \"10.99.0.0/16\"\nvia = \"blackhole\"")
        .flow("more", "lan", "dmz:server", "allow = [\"tcp/8080\"]")
}

/// In: a document with three faults. Out: all are told, with their lines, and nothing is changed.
#[test]
fn an_invalid_document_changes_nothing() {
    skip_unless_root!();
    let stage = Stage::up(&good());
    let before = stage.settled();
    let bad = other().replace("version = 1", "version = 1\nnonsense = true").flow(
        "bad",
        "lan:nobody",
        "nowhere",
        "allow = [\"no-such-service\"]",
    );
    let line =
        |text: &str| (bad.text().lines().position(|l| l.contains(text)).expect("a line") + 1).to_string();
    let said = stage.refused(&bad, &[]);
    for fault in ["nonsense", "nobody", "nowhere", "no-such-service"] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    for place in [line("nonsense"), line("lan:nobody"), line("no-such-service")] {
        assert!(
            said.contains(&format!("{place}:")) || said.contains(&format!(" {place} ")),
            "line {place}: {said}"
        );
    }
    stage.assert_unchanged(&before, "refused");
    assert_eq!(stage.revision(), 1);
    assert_eq!(stage.history().len(), 1);
    let checked = stage.node.verb(&["check", stage.file("bad.toml", bad.text()).to_str().expect("a path")]);
    assert_eq!(checked.expect("a verb").status.code(), Some(1));
}

/// In: a document that contradicts its own assertion. Out: refused, with a packet that proves it and the flow that lets it through.
#[test]
fn a_failing_assertion_refuses_the_commit() {
    skip_unless_root!();
    let stage = Stage::up(&datatel());
    let bad = datatel().replace("id    = \"site\"", "id    = \"site\"\n\n[[flow]]\nid = \"hole\"\nfrom = \"dmz\"\nto = \"lan:ad1\"\nallow = [\"tcp/389\"]\nwhy = \"a hole\"\nowner = \"x\"\n\n[[flow]]");
    // The inserted flow ends what was the head of another: give it its lines back.
    let bad = bad.replace("[[flow]]\nid    = \"site\"\n", "");
    let said = stage.refused(&bad, &[]);
    assert!(said.contains("dmz never reaches ad except dns"), "{said}");
    assert!(said.contains("hole") && said.contains("389") && said.contains("192.168.10.11"), "{said}");
    assert_eq!((stage.revision(), stage.history().len()), (1, 1));
}

/// In: a commit from a session whose way in the document closes. Out: refused, with the reason; `--force` commits it; a session elsewhere is none of ours.
#[test]
fn nobody_locks_themselves_out() {
    skip_unless_root!();
    let stage = Stage::up(&good());
    let session = Some("192.168.10.21 50022 192.168.10.254 22");
    let closed = small().flow("web", "lan", "dmz:server", "allow = [\"http\"]");
    let refused = stage.try_commit(&closed, &[], session);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("192.168.10.21") && said.contains("--force"), "{said}");
    assert_eq!(stage.revision(), 1);

    let moved = good().replace("192.168.10.254/24", "192.168.10.253/24");
    assert_eq!(stage.try_commit(&moved, &[], session).status.code(), Some(1), "the address goes");
    assert_eq!(stage.revision(), 1);

    assert!(stage.try_commit(&good().and("# same"), &[], session).status.success(), "it stays open");
    // A session to another machine, as when the lab is used over SSH.
    assert!(stage.try_commit(&closed, &[], Some("10.9.8.7 50022 10.9.8.1 22")).status.success());
    stage.commit(&good());
    assert!(stage.try_commit(&closed, &["--force"], session).status.success());
    assert_eq!(stage.revision(), 5);
}

/// In: an nft that refuses, that dies in the middle, and that is not there. Out: the error names it, addresses and routes are taken back, and the next commit works.
#[test]
fn a_kernel_that_refuses_leaves_everything_as_it_was() {
    skip_unless_root!();
    let mut stage = Stage::bare(&good());
    stage.stop();
    let folder = stage.lab.run_dir().join("wrapped");
    fs::create_dir_all(&folder).expect("a folder");
    let (wrapper, mode) = (folder.join("nft"), folder.join("mode"));
    let script = format!(
        "#!/bin/sh\nmode=$(cat {mode})\ncase \"$mode $*\" in\n\
         'refuse -f -') cat >/dev/null; echo '/dev/stdin:3:1-9: Error: Could not process rule: No buffer space available' >&2; exit 1;;\n\
         'die -f -') kill -9 $$;;\n\
         esac\nexec {nft} \"$@\"\n",
        mode = mode.display(),
        nft = "/usr/sbin/nft"
    );
    fs::write(&wrapper, script).expect("a wrapper");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("it runs");
    let set = |text: &str| fs::write(&mode, text).expect("a mode");
    set("work");
    // The daemon finds its nft by the search path; a start of the daemon takes ours over.
    let daemon = stage.file("rempartd", "");
    let real = rempart_lab::program("rempartd").expect("it is built");
    fs::write(
        &daemon,
        format!("#!/bin/sh\nPATH={}:$PATH exec {} \"$@\"\n", folder.display(), real.display()),
    )
    .expect("a wrapper");
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).expect("it runs");
    let Stage { node, lab } = stage;
    drop(node);
    let _ = fs::remove_file(lab.host("fw").run_dir().join("bus"));
    let node = lab.start_node_with("fw", &daemon).expect("a node");
    let stage = Stage { node, lab };
    stage.commit(&good());
    let before = stage.settled();

    for (word, part) in [("refuse", "No buffer space available"), ("die", "nft")] {
        set(word);
        let said = stage.refused(&other(), &[]);
        assert!(said.contains(part) && said.contains("the old policy is in force"), "{word}: {said}");
        set("work");
        stage.assert_unchanged(&before, word);
        assert_eq!((stage.revision(), stage.history().len()), (1, 1), "{word}");
        assert!(!stage.state("journal.json").exists() && !stage.state("pending.json").exists(), "{word}");
    }
    fs::rename(&wrapper, folder.join("away")).expect("away");
    let refused = stage.try_commit(&other(), &["--confirm", "60s"], None);
    fs::rename(folder.join("away"), &wrapper).expect("back");
    // Without ours, the machine's own is found: then this commit is good, and is taken back.
    if refused.status.success() {
        stage.node.must(&["revert"]).expect("taken back");
    }
    stage.assert_unchanged(&before, "unchanged");
    let report = stage.commit(&other());
    assert!(report.steps.len() > 2, "{report:?}");
    assert_ne!(stage.snapshot(), before);
}

/// In: an address that another program holds elsewhere, so that a route of the document cannot be made. Out: refused by its name; what was done before is undone.
#[test]
fn a_refused_step_takes_the_others_back() {
    skip_unless_root!();
    let stage = Stage::up(&good());
    // Somebody's route with the same destination and metric: ours collides with it.
    stage.node.host().ip("route add blackhole 10.99.0.0/16 proto static\n").expect("a route");
    let before = stage.settled();
    let said = stage.refused(&other(), &[]);
    assert!(said.contains("10.99.0.0/16"), "{said}");
    stage.assert_unchanged(&before, "refused");
    assert_eq!(stage.revision(), 1);
    stage.node.host().ip("route del blackhole 10.99.0.0/16 proto static\n").expect("no route");
    stage.commit(&other());
}
