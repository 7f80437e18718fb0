//! The whole box at work: every unit runs, each program in its cage, and nothing that it does is refused there.

use rempart_image_tests::{BOOT, Firmware, SOON, Shell};

use crate::{Site, image};

/// What must run once the box is up.
const UNITS: &str = "rempartd rempart-ha rempart-vpn rempart-update rempart-console@tty1 rempart-console@ttyS0 rempart-modules-lock \
                     rempart-take-over apparmor dbus systemd-timesyncd systemd-journald systemd-udevd";
/// Each program, and the profile that it must be held by.
const PROFILES: &[(&str, &str)] = &[
    ("rempartd", "rempartd"),
    ("rempart-ha", "rempart-ha"),
    ("rempart-vpn", "rempart-vpn"),
    ("rempart-update", "rempart-update"),
    ("rempart", "rempart"),
];
/// Remote access on top of the plain document, so that its program opens sockets and a TUN device.
const REMOTE: &str = "\n[vpn]\n\n[vpn.group.agents]\npool = \"10.77.10.0/24\"\n";
/// What a person may do on a box, as root's shell does it.
const VERBS: &[&str] = &[
    "status",
    "flows",
    "matrix",
    "connections",
    "ha",
    "history",
    "explain --src 192.168.10.21 --dst 203.0.113.9 udp/7000",
    "audit anssi",
    "vpn",
    "vpn user add alice --groups agents",
    "vpn list",
    "vpn devices",
    "update status",
    "update files",
    "install",
];

#[test]
fn everything_runs_and_no_profile_refuses_anything_that_it_does() {
    // A document from a stick, then one with remote access; every screen and the verbs, and each daemon killed once. All units
    // are active, each program is in its profile, and the log has no refusal of AppArmor's.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let mut machine = site.up(&site.spec(Firmware::Direct).stick(&site.stick).two_processors());
    for key in ["2", "3", "4", "5", "6", "7", "1"] {
        machine.console.send(key);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let shell = machine.shell();
    let (_, state) = shell.try_run("systemctl is-system-running --wait", BOOT).expect("systemd answers");
    assert_eq!(
        state.trim(),
        "running",
        "failed: {}",
        shell.run("systemctl --failed --no-legend --plain || :")
    );
    let active = shell.run(&format!("for u in {UNITS}; do echo $u $(systemctl is-active $u); done"));
    assert!(active.lines().all(|line| line.ends_with(" active")), "{active}");

    shell
        .run(&format!("rempart show 1 >/tmp/r.toml; printf '{}' >>/tmp/r.toml", REMOTE.replace('\n', "\\n")));
    shell.run("rempart commit /tmp/r.toml --message remote");
    let (_, device) = shell
        .try_run("until ip -o link show type tun | grep .; do sleep 1; done", SOON)
        .expect("the program of remote access makes its device");
    assert!(device.contains(": "), "{device}");
    // All that is wrong is told together: a start is dear.
    let mut faults = Vec::new();
    for verb in VERBS {
        let (code, said) = shell.try_run(&format!("rempart {verb}"), SOON).expect("an answer");
        // The audit of a box that was started by hand has something to say, and says so by its exit code.
        if code != 0 && *verb != "audit anssi" {
            faults.push(format!("`rempart {verb}` ended with {code}: {said}"));
        }
    }
    for program in ["rempartd", "rempart-ha", "rempart-vpn", "rempart-update"] {
        shell.run(&format!("systemctl kill -s KILL {program} && sleep 2"));
    }
    // One active unit of several is enough for the exit code of is-active.
    let (_, back) = shell
        .try_run("until rempart --json status >/dev/null 2>&1 && ! systemctl is-active rempart-ha rempart-vpn rempart-update | grep -qvx active; do sleep 1; done; systemctl is-active rempartd rempart-ha rempart-vpn rempart-update", BOOT)
        .expect("the daemon answers again");
    assert_eq!(back, "active\n".repeat(4));
    faults.extend(caged(shell));
    faults.extend(refusals(shell).lines().map(|line| format!("AppArmor refused: {line}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The programs that are not in their profile, or whose profile is not enforced.
fn caged(shell: &mut Shell) -> Vec<String> {
    let mut faults = Vec::new();
    for (program, profile) in PROFILES {
        let held =
            shell.run(&format!("for p in $(pidof {program}); do cat /proc/$p/attr/current; done | sort -u"));
        if held.trim() != format!("{profile} (enforce)") {
            faults.push(format!("{program} is held by {held:?}"));
        }
    }
    faults
}

/// What AppArmor refused since the start, one line each.
pub fn refusals(shell: &mut Shell) -> String {
    shell.run(
        "journalctl -b --no-pager -o cat 2>/dev/null | grep 'apparmor=\"DENIED\"' | sed 's/.*apparmor=/apparmor=/' | sort | uniq -c || :",
    )
}
