//! The figures of the README, measured in the machine with its own clock: printed, and held against limits that only a fault
//! exceeds.

use rempart_image_tests::{BOOT, Firmware, SOON, Shell};

use crate::{Site, image};

/// How long the box is left alone, in seconds; `REMPART_IDLE_S` says otherwise.
const IDLE_S: u64 = 120;
const DAY_S: u64 = 86_400;
/// The smallest box has a gigabyte, of which nothing that only runs may take half.
const MEMORY_MB_MAX: u64 = 512;
/// A cheap 16 GB disk takes a thousand times its size: eight years at this pace.
const WRITTEN_MB_A_DAY_MAX: u64 = 5000;

#[test]
#[ignore = "long: make test-image"]
fn the_figures_of_an_idle_box() {
    // The second start of a box with a document: the time until it forwards, its memory, and what it writes while nothing happens.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let mut machine = site.first();
    machine.shell().run("sync");
    machine.cut_power();

    let mut machine = site.start(&site.spec(Firmware::Direct));
    let shell = machine.shell();
    shell.ready(BOOT);
    let forwards = "until [ $(cat /proc/sys/net/ipv4/ip_forward) = 1 ] && nft list chain inet rempart forward >/dev/null 2>&1; do sleep 0.2; done; cut -d ' ' -f 1 /proc/uptime";
    let (_, up) = shell.try_run(forwards, BOOT).expect("it forwards");
    machine.console.expect("revision 1", SOON);
    let shell = machine.shell();
    let _ = shell.try_run("systemctl is-system-running --wait; sleep 20; sync", BOOT).expect("it is up");
    let idle_s = std::env::var("REMPART_IDLE_S").ok().and_then(|n| n.parse().ok()).unwrap_or(IDLE_S);
    let before = number(shell, WRITTEN);
    let _ = shell.try_run(&format!("sleep {idle_s}; sync"), BOOT * 4).expect("it idles");
    let written = (number(shell, WRITTEN) - before) * 512;
    let a_day = written * DAY_S / idle_s / 1_000_000;
    let used = number(shell, "free -m | awk '/^Mem:/ { print $3 }'");
    eprintln!("boot to forwarding: {} s of the box's clock", up.trim());
    eprintln!("memory at idle: {used} MB of {}", shell.run("free -m | awk '/^Mem:/ { print $2 }'").trim());
    eprintln!("resident: {}", shell.run("ps -eo rss,comm | grep -E ' rempart' | awk '{ print $2, int($1 / 1024) \" MB\" }' | paste -sd, || :").trim());
    eprintln!("written while idle: {written} bytes in {idle_s} s, {a_day} MB a day");
    let before = number(shell, WRITTEN);
    shell.run("rempart show 1 >/tmp/d.toml; for n in 1 2 3 4 5 6 7 8 9 10; do sed \"s/udp.700[0-9]*/udp\\/700$n/\" /tmp/d.toml >/tmp/c.toml; rempart commit /tmp/c.toml --message $n >/dev/null || exit 1; done; sync");
    eprintln!("written by a commit: {} bytes", (number(shell, WRITTEN) - before) * 512 / 10);
    eprintln!(
        "the slowest units: {}",
        shell.run("systemd-analyze blame --no-pager | head -n 12 | sed 's/^ *//' | paste -sd, || :").trim()
    );
    assert!(used <= MEMORY_MB_MAX, "{used} MB are in use");
    assert!(a_day <= WRITTEN_MB_A_DAY_MAX, "{a_day} MB a day are written");
}

/// Sectors written to the disk since the start (Documentation/admin-guide/iostats.rst).
const WRITTEN: &str = "awk '$3 == \"vda\" { print $10 }' /proc/diskstats";

fn number(shell: &mut Shell, command: &str) -> u64 {
    let said = shell.run(command);
    said.trim().parse().unwrap_or_else(|e| panic!("`{command}` printed {said:?}: {e}"))
}
