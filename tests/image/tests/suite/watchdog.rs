//! A box that has stopped starts again: after a panic by itself, and by its hardware watchdog if not even that happens.

use std::time::Duration;

use rempart_image_tests::{BOOT, Firmware, Frozen};

use crate::{Site, image};

/// `panic=10` of the command line, under emulation on two busy cores.
const PANIC: Duration = Duration::from_secs(180);
/// `RuntimeWatchdogSec=30s`, and as long again: the watchdog of this chip counts twice.
const WATCHDOG: Duration = Duration::from_secs(300);

#[test]
#[ignore = "long: make test-image-more"]
fn a_panic_restarts_the_box_and_the_watchdog_restarts_one_that_does_not_even_panic_well() {
    // A crash of the kernel: the machine restarts. The same with the restart after a panic switched off: only the watchdog,
    // which systemd has opened, can do it.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let spec = site.spec(Firmware::Direct).watchdog();
    let mut machine = site.start(&spec);
    let shell = machine.shell();
    shell.ready(BOOT);
    let opened = "until [ \"$(cat /sys/class/watchdog/watchdog0/state 2>/dev/null)\" = active ]; do sleep 1; done; cat /sys/class/watchdog/watchdog0/identity";
    let (_, chip) = shell.try_run(opened, BOOT).expect("systemd opens the watchdog");
    assert!(chip.contains("6300ESB"), "{chip}");
    assert_eq!(shell.run("cat /proc/sys/kernel/panic").trim(), "10");
    let watched = Frozen::take(machine, &site.disk);
    for stuck in [false, true] {
        watched.restore(&site.disk);
        let mut machine = site.start(&spec.frozen(&watched));
        let shell = machine.shell();
        if stuck {
            shell.run("echo 0 >/proc/sys/kernel/panic");
        }
        shell.start("echo c >/proc/sysrq-trigger");
        let limit = if stuck { WATCHDOG } else { PANIC };
        assert!(machine.wait_for_end(limit), "stuck: {stuck}: the machine has not started again");
    }
}
