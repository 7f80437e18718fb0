//! What the image ships beside the programs: units, profiles, settings, and the script that takes away what must not be there.
//! Judged by the programs that will read them; one that is not installed here is skipped, and said so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// The highest exposure, in tenths, that a unit of ours may have (systemd-analyze(1), `security`).
const HIGHEST_EXPOSURE: u32 = 25;

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().expect("the project")
}

fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder").map(|e| e.expect("an entry").path());
    let mut found: Vec<PathBuf> =
        entries.filter(|p| p.is_file() && p.to_string_lossy().ends_with(end)).collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} has files");
    found
}

/// Runs a program; `None` where it is not installed.
fn run(command: &mut Command) -> Option<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The exposure that systemd finds, in tenths.
fn exposure(unit: &Path) -> Option<u32> {
    let mut analyze = Command::new("systemd-analyze");
    let output = run(analyze.args(["security", "--offline=true", "--no-pager"]).arg(unit))?;
    let text = said(&output);
    // → Overall exposure level for rempartd.service: 2.4 OK
    let level = text.rsplit("exposure level for ").next().and_then(|rest| rest.split_whitespace().nth(1));
    let level = level.unwrap_or_else(|| panic!("{text}"));
    Some(level.replace('.', "").parse().unwrap_or_else(|_| panic!("{text}")))
}

#[test]
fn no_unit_is_more_exposed_than_it_may_be() {
    // Each unit file in; its exposure as systemd reckons it, at most 2.5, out.
    let image = files("image/rootfs/usr/lib/systemd/system", ".service");
    for unit in files("systemd", ".service").into_iter().chain(image) {
        let Some(tenths) = exposure(&unit) else { return };
        let name = unit.file_name().expect("a name").to_string_lossy();
        println!("{name}: {}.{}", tenths / 10, tenths % 10);
        assert!(tenths <= HIGHEST_EXPOSURE, "{name} is exposed by {}.{}", tenths / 10, tenths % 10);
    }
}

#[test]
fn a_unit_without_its_sandbox_would_be_found() {
    // The control daemon's unit without its filter of system calls in; more than 2.5 out.
    let text = fs::read_to_string(root().join("systemd/rempartd.service")).expect("the unit");
    let open: Vec<&str> = text.lines().filter(|line| !line.starts_with("SystemCallFilter=")).collect();
    let folder = std::env::temp_dir().join(format!("rempart-box-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let unit = folder.join("open.service");
    fs::write(&unit, open.join("\n")).expect("a unit");
    let tenths = exposure(&unit);
    fs::remove_dir_all(&folder).expect("removed");
    assert!(tenths.is_none_or(|tenths| tenths > HIGHEST_EXPOSURE), "{tenths:?}");
}

#[test]
fn every_unit_that_is_switched_on_exists() {
    // The preset in; each unit of ours that it names, a file out.
    let preset =
        fs::read_to_string(root().join("rootfs-overlay/usr/lib/systemd/system-preset/10-rempart.preset"));
    let preset = preset.expect("the preset");
    for unit in preset.lines().filter_map(|line| line.strip_prefix("enable rempart")) {
        let (name, _) = unit.split_once(['@', '.']).expect("a unit's name");
        let file = if unit.contains('@') {
            format!("rempart{name}@.service")
        } else {
            format!("rempart{name}.service")
        };
        let text = fs::read_to_string(root().join("systemd").join(&file));
        let text = text.unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains("\n[Install]\n"), "{file} cannot be switched on");
    }
}

#[test]
fn profiles_are_read_by_the_parser_of_apparmor() {
    // Each profile in; compiled without the kernel out.
    let folder = root().join("rootfs-overlay/etc/apparmor.d");
    for profile in files("rootfs-overlay/etc/apparmor.d", "") {
        let mut parser = Command::new("apparmor_parser");
        parser.args(["--skip-kernel-load", "--skip-cache", "--quiet", "--stdout", "-I"]).arg(&folder);
        let Some(output) = run(parser.args(["-I", "/etc/apparmor.d"]).arg(&profile)) else { return };
        assert!(output.status.success(), "{}: {}", profile.display(), said(&output));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn the_ssh_daemon_reads_its_settings() {
    // sshd_config with a key of this test's in; nothing to complain about out.
    let folder = std::env::temp_dir().join(format!("rempart-sshd-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let key = folder.join("key");
    let mut keygen = Command::new("ssh-keygen");
    let made = run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let text = fs::read_to_string(root().join("rootfs-overlay/etc/ssh/sshd_config")).expect("the settings");
    let config = folder.join("config");
    fs::write(&config, text.replace("/var/lib/rempart-ssh/host_ed25519", &key.to_string_lossy()))
        .expect("written");
    let extended = made.and_then(|_| run(Command::new("/usr/sbin/sshd").arg("-T").arg("-f").arg(&config)));
    fs::remove_dir_all(&folder).expect("removed");
    let Some(output) = extended else { return };
    let text = said(&output);
    // It wants a folder that only a service has.
    if text.contains("privilege separation directory") {
        return eprintln!("skipped: /run/sshd is missing");
    }
    assert!(output.status.success(), "{text}");
    for line in [
        "passwordauthentication no",
        "permitrootlogin no",
        "forcecommand /usr/bin/rempart",
        "disableforwarding yes",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

/// A small root file system with one thing of each kind that must not be in it.
fn dirty_root(root: &Path) {
    for folder in [
        "etc/ssh",
        "etc/apt",
        "etc/pam.d",
        "usr/bin",
        "usr/sbin",
        "var/open",
        "etc/apparmor.d",
        "usr/lib/modules/7.3.4",
    ] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let write = |path: &str, text: &str, mode: u32| {
        fs::write(root.join(path), text).expect("a file");
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).expect("its mode");
    };
    write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/bash\nsync:x:4:65534::/:/bin/sync\nadmin:x:900:900::/:/usr/lib/rempart/login\n",
        0o666,
    );
    write("etc/shadow", "root::1::::::\nsync:*:1::::::\nadmin:$y$x$y:1::::::\n", 0o644);
    write("etc/group", "root:x:0:\nnogroup:x:65534:\nadmin:x:900:\n", 0o644);
    write("etc/ssh/ssh_host_ed25519_key", "secret", 0o600);
    write("usr/bin/su", "", 0o4755);
    write("usr/bin/dpkg", "", 0o755);
    write("usr/bin/mount", "", 0o4755);
    write("usr/bin/nft", "", 0o755);
    write("etc/apparmor.d/firefox", "profile", 0o644);
    write("etc/apparmor.d/rempartd", "profile", 0o644);
    write("usr/lib/modules/7.3.4/config", "CONFIG_SECURITY=y", 0o644);
    fs::set_permissions(root.join("var/open"), fs::Permissions::from_mode(0o777)).expect("its mode");
    std::os::unix::fs::chown(root.join("usr/bin/nft"), Some(4711), Some(4711)).expect("somebody else's");
}

#[test]
fn the_script_takes_away_what_must_not_be_there() {
    // A root with a fault of each kind in; `--check` names them all, then none is left and the rest stays.
    let is_root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_root {
        return eprintln!("skipped: only root may give files away");
    }
    if run(Command::new("setcap").arg("-h")).is_none() {
        return;
    }
    let image = std::env::temp_dir().join(format!("rempart-root-{}", std::process::id()));
    dirty_root(&image);
    let script = root().join("image/hardening.sh");
    let check = || run(Command::new(&script).arg("--check").arg(&image)).expect("a shell");
    let found = check();
    assert!(!found.status.success());
    for fault in [
        "R56 setuid or setgid: usr/bin/su",
        "R56 setuid or setgid: usr/bin/mount",
        "R54 writable by all: etc/passwd",
        "R54 writable by all: var/open",
        "R38 a way to become somebody else: usr/bin/su",
        "R58 makes or fetches programs: usr/bin/dpkg",
        "R51 a secret in the image: etc/ssh/ssh_host_ed25519_key",
        "R59 a source of packages",
        "R34 a shell: root",
        "R34 a shell: sync",
        "R30 a password: root",
        "R30 a password: admin",
    ] {
        assert!(said(&found).contains(fault), "{fault} is not among\n{}", said(&found));
    }
    let done = run(Command::new(&script).arg(&image)).expect("a shell");
    assert!(done.status.success(), "{}", said(&done));
    assert!(check().status.success(), "{}", said(&check()));
    let passwd = fs::read_to_string(image.join("etc/passwd")).expect("accounts");
    assert!(passwd.contains("admin:x:900:900::/:/usr/lib/rempart/login"), "{passwd}");
    assert!(image.join("usr/bin/mount").exists() && image.join("usr/bin/nft").exists());
    assert!(image.join("etc/apparmor.d/rempartd").exists() && !image.join("etc/apparmor.d/firefox").exists());
    assert!(image.join("usr/lib/rempart/kernel-config").exists());
    let nft = fs::metadata(image.join("usr/bin/nft")).expect("nft");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&nft), 0);
    fs::remove_dir_all(&image).expect("removed");
}

#[test]
fn the_script_prints_the_words_of_the_command_line() {
    let output = run(Command::new(root().join("image/hardening.sh")).arg("--cmdline")).expect("a shell");
    let text = said(&output);
    assert!(output.status.success());
    assert!(text.starts_with("iommu=force ") && !text.contains('#') && text.lines().count() == 1, "{text}");
    // AppArmor's refusals reach the journal by the kernel's audit.
    assert!(!text.contains("audit="));
}

#[test]
fn the_script_never_touches_the_machine_that_builds() {
    let output = run(Command::new(root().join("image/hardening.sh")).arg("/")).expect("a shell");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn remote_access_that_nobody_asked_for_says_that_it_lives() {
    // The program of a box whose document has no `[vpn]`: it waits, for as long as the box runs, and its watchdog hears of it.
    let folder = std::env::temp_dir().join(format!("rempart-waits-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder of our own");
    let socket = folder.join("notify");
    let listener = UnixDatagram::bind(&socket).expect("a socket of our own");
    listener.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let mut program = Command::new(env!("CARGO_BIN_EXE_rempart-vpn"));
    program.args(["--node", "alone", "--state"]).arg(&folder).arg("--run").arg(folder.join("run"));
    program.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "60000000");
    program.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", folder.join("no-bus").display()));
    let mut child = program.spawn().expect("it starts");
    let mut heard = [0; 32];
    let length = listener.recv(&mut heard);
    child.kill().and_then(|()| child.wait()).expect("it ran until now");
    fs::remove_dir_all(&folder).expect("a folder of our own");
    assert_eq!(&heard[..length.expect("a word within half a minute")], b"WATCHDOG=1");
}
