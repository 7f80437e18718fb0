//! The figures of the README, measured in the machine with its own clock: printed, and held against limits that only a fault
//! exceeds.

use std::net::Ipv4Addr;
use std::time::Instant;

use rempart_image_tests::{BOOT, Firmware, Host, SOON, Shell};

use crate::{DESK, INSIDE, SERVER, Site, image};

/// How long the box is left alone, in seconds; `REMPART_IDLE_S` says otherwise.
const IDLE_S: u64 = 120;
const DAY_S: u64 = 86_400;
/// A table that is nearly full.
const CONNECTIONS: u64 = 250_000;
/// So many of them go to one place.
const PORTS: u64 = 50_000;
/// The smallest box has a gigabyte, of which nothing that only runs may take half.
const MEMORY_MB_MAX: u64 = 512;
/// A cheap 16 GB disk takes a thousand times its size: eight years at this pace.
const WRITTEN_MB_A_DAY_MAX: u64 = 5000;

#[test]
#[ignore = "long: make test-image-more"]
fn the_figures_of_an_idle_box() {
    // The second start of a box with a document: the time until it forwards, its memory, and what it writes while nothing happens.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let mut machine = site.first();
    machine.shell().run("sync");
    machine.cut_power();

    let mut machine = site.start(&site.spec(Firmware::Direct).two_processors());
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
    let used = number(shell, USED);
    eprintln!("boot to forwarding: {} s of the box's clock", up.trim());
    eprintln!("memory at idle: {used} MB of {}", shell.run("free -m | awk '/^Mem:/ { print $2 }'").trim());
    eprintln!("resident: {}", shell.run("ps -eo rss,comm | grep -E ' rempart' | awk '{ print $2, int($1 / 1024) \" MB\" }' | paste -sd, || :").trim());
    eprintln!("written while idle: {written} bytes in {idle_s} s, {a_day} MB a day");
    let before = number(shell, WRITTEN);
    shell.run("rempart show 1 >/tmp/d.toml; for n in 11 12 13 14 15 16 17 18 19 20; do sed \"s/udp.7000/udp\\/70$n/\" /tmp/d.toml >/tmp/c.toml; rempart commit /tmp/c.toml --message $n >/dev/null || exit 1; done; sync");
    eprintln!("written by a commit: {} bytes", (number(shell, WRITTEN) - before) * 512 / 10);
    eprintln!(
        "the slowest units: {}",
        shell.run("systemd-analyze blame --no-pager | head -n 12 | sed 's/^ *//' | paste -sd, || :").trim()
    );
    let full = with_connections(&site, shell);
    eprintln!("memory with {CONNECTIONS} connections: {full} MB");
    assert!(used <= MEMORY_MB_MAX && full <= MEMORY_MB_MAX, "{used} MB, and {full} MB are in use");
    assert!(a_day <= WRITTEN_MB_A_DAY_MAX, "{a_day} MB a day are written");
}

/// Megabytes in use when so many connections are in the table.
fn with_connections(site: &Site, shell: &mut Shell) -> u64 {
    shell.run(
        "{ rempart show 1; printf '\\n[system]\\nmax_connections = 262144\\n'; } >/tmp/m.toml; rempart commit /tmp/m.toml --message room",
    );
    // Nobody answers, and none is to be forgotten meanwhile.
    shell.run("echo 3600 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout");
    let desk = Host::attach(&site.cables[1], DESK);
    let [a, b, c, d] = SERVER.octets();
    // The ports of one address would not do: each connection is translated to one that no other one to that place has.
    let places: Vec<_> =
        (0..CONNECTIONS / PORTS).map(|n| (Ipv4Addr::new(a, b, c, d + n as u8), 7000)).collect();
    let ports = 10_000..10_000 + PORTS as u16;
    let begun = Instant::now();
    while number(shell, "cat /proc/sys/net/netfilter/nf_conntrack_count") < CONNECTIONS {
        assert!(begun.elapsed() < BOOT, "the table does not fill");
        assert!(desk.send_all(INSIDE, &places, ports.clone(), SOON), "the box does not answer inside");
    }
    number(shell, USED)
}

/// Sectors written to the disk since the start (Documentation/admin-guide/iostats.rst).
const WRITTEN: &str = "awk '$3 == \"vda\" { print $10 }' /proc/diskstats";

/// Megabytes that are neither free nor given back when they are asked for.
const USED: &str = "free -m | awk '/^Mem:/ { print $2 - $7 }'";

fn number(shell: &mut Shell, command: &str) -> u64 {
    let said = shell.run(command);
    said.trim().parse().unwrap_or_else(|e| panic!("`{command}` printed {said:?}: {e}"))
}
