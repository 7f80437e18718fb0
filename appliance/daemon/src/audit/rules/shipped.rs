//! What the image ships is what the table wants: `systemd/`, `rootfs-overlay/`, the command line, and what the plan sets.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rempart_plan::Facts as PlanFacts;
use rempart_plan::net::Network;

use super::super::facts::Seen;
use super::super::observe::parse;
use super::*;

/// What the kernel does by itself where nobody sets anything (Documentation/networking/ip-sysctl.rst).
const KERNEL: &[(&str, &str)] = &[
    ("net/ipv4/conf/all/arp_filter", "0"),
    ("net/ipv4/conf/all/drop_gratuitous_arp", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv6/conf/default/router_solicitations", "-1"),
    ("net/ipv6/conf/default/accept_ra_rtr_pref", "1"),
    ("net/ipv6/conf/default/accept_ra_pinfo", "1"),
    ("net/ipv6/conf/default/accept_ra_defrtr", "1"),
    ("net/ipv6/conf/default/max_addresses", "16"),
];

fn read(path: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Asserts that what is shipped is wanted, or is the departure that the table knows.
fn assert_wanted(rule: &Rule, fact: Fact, want: Want, seen: &Seen) {
    let excused = rule.excuses.iter().any(|(about, as_is)| *about == fact && as_is.holds(seen));
    assert!(want.holds(seen) || excused, "{}: {fact} is shipped as {seen}, wanted {want}", rule.code);
}

fn wants() -> impl Iterator<Item = (&'static Rule, Fact, Want)> {
    RULES.iter().flat_map(|rule| rule.wants.iter().map(move |(fact, want)| (rule, *fact, *want)))
}

#[test]
fn kernel_settings_are_as_the_table_wants() {
    let mut all: BTreeMap<String, String> =
        KERNEL.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let shipped = [
        read("rootfs-overlay/usr/lib/sysctl.d/60-rempart.conf"),
        read("rootfs-overlay/usr/lib/rempart/lock.conf"),
    ];
    let shipped = parse::last_settings(shipped.iter().map(String::as_str));
    let shipped: BTreeMap<String, String> =
        shipped.into_iter().map(|(key, value)| (key.replace('.', "/"), value)).collect();
    let document = "version = 1\nnode = \"fw\"\n[interface.lan]\ndevice = \"eth0\"\nzone = \"lan\"\naddress = \"192.0.2.1/24\"\n";
    let model = rempart_config::read(document).model.expect("a model");
    let node = model.node("fw").expect("the node");
    let planned = Network::of(&model, node, &PlanFacts::default()).sysctls;
    for (key, sysctl) in &planned {
        let before = shipped.get(key).filter(|value| **value != sysctl.value);
        assert_eq!(before, None, "{key} is shipped otherwise than it is planned");
    }
    all.extend(shipped);
    all.extend(planned.into_iter().map(|(key, sysctl)| (key, sysctl.value)));
    for (rule, fact, want) in wants() {
        let Fact::Sysctl(key) = fact else { continue };
        let value = all.get(key).unwrap_or_else(|| panic!("{}: nobody sets {key}", rule.code));
        assert_wanted(rule, fact, want, &Seen::text(value));
    }
}

#[test]
fn the_command_line_is_as_the_table_wants() {
    let text = read("image/cmdline.hardening");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &lines {
        let reason = line.split_once(" # R").unwrap_or_else(|| panic!("{line:?} has no recommendation")).1;
        assert!(reason.contains(": "), "{line:?} has no reason");
    }
    let words =
        lines.iter().map(|line| line.split('#').next().unwrap_or("").trim()).collect::<Vec<_>>().join(" ");
    let words = parse::command_line(&words);
    for (rule, fact, want) in wants() {
        let Fact::Word(word) = fact else { continue };
        // The image's own: it differs with each build.
        if word != "roothash" {
            assert_wanted(rule, fact, want, &words.get(word).map_or(Seen::Absent, Seen::text));
        }
    }
}

#[test]
fn units_are_as_the_table_wants() {
    for (rule, fact, want) in wants() {
        let Fact::Unit(unit, property) = fact else { continue };
        if !unit.starts_with("rempart") {
            continue;
        }
        let file = unit.replace("@tty1.", "@.");
        let seen = property_of(&read(&format!("systemd/{file}")), property);
        assert_wanted(rule, fact, want, &seen);
    }
}

/// A property as systemd would tell it of this file.
fn property_of(unit: &str, property: &str) -> Seen {
    let key = if property == "WatchdogUSec" { "WatchdogSec" } else { property };
    let values: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    let value = values.last().copied();
    match (property, value) {
        ("CapabilityBoundingSet", Some(value)) => Seen::many(value.to_lowercase().split_whitespace()),
        ("SystemCallFilter", _) => Seen::many(values),
        ("RestrictNamespaces", Some("yes")) => Seen::text("0"),
        ("WatchdogUSec", Some("3min")) => Seen::text("180000000"),
        (_, Some(value)) => Seen::text(value),
        (_, None) => Seen::text(""),
    }
}

#[test]
fn logind_journald_and_sshd_are_as_the_table_wants() {
    let logind = read("rootfs-overlay/usr/lib/systemd/logind.conf.d/60-rempart.conf");
    let journald = read("rootfs-overlay/usr/lib/systemd/journald.conf.d/60-rempart.conf");
    let sshd = read("rootfs-overlay/etc/ssh/sshd_config");
    let settings = BTreeMap::from([
        ("logind", parse::last_settings([logind.as_str()])),
        ("journald", parse::last_settings([journald.as_str()])),
        ("sshd", parse::first_settings([sshd.as_str()])),
    ]);
    for (rule, fact, want) in wants() {
        let Fact::Setting(program, key) = fact else { continue };
        assert_wanted(rule, fact, want, &settings[program].get(key).map_or(Seen::Absent, Seen::text));
    }
}

#[test]
fn every_program_of_the_table_has_a_profile() {
    for (_, fact, want) in wants() {
        let (Fact::Known(Known::Enforced), Want::All(programs)) = (fact, want) else { continue };
        for program in programs {
            let profile = read(&format!("rootfs-overlay/etc/apparmor.d/{program}"));
            assert!(profile.contains(&format!("profile {program} ")), "{program}");
            assert!(!profile.contains("complain"), "{program}");
        }
    }
}
