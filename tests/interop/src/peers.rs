//! The stock peers: keepalived and ucarp as Debian packs them.

use std::fs;

use crate::VRID;
use crate::machine::{Machine, Running};

/// What keepalived is to do.
#[derive(Clone, Debug)]
pub struct Keepalived<'a> {
    /// 2 or 3.
    pub version: u8,
    /// 1 to 254.
    pub priority: u8,
    /// Between two adverts, in its own notation: `0.1`, `1`.
    pub interval: &'a str,
    /// The virtual addresses.
    pub addresses: &'a [&'a str],
    /// VRRPv2's text.
    pub password: Option<&'a str>,
    /// Whether it takes the role from a lower priority.
    pub preempt: bool,
    /// Whether it has the virtual MAC.
    pub virtual_mac: bool,
    /// More lines for the instance.
    pub more: &'a str,
}

impl Default for Keepalived<'_> {
    fn default() -> Self {
        Self {
            version: 3,
            priority: 100,
            interval: "0.1",
            addresses: &["192.0.2.1/32"],
            password: None,
            preempt: true,
            virtual_mac: true,
            more: "",
        }
    }
}

/// Starts keepalived on `machine`.
pub fn keepalived(machine: &Machine, wanted: &Keepalived<'_>) -> Running {
    let Keepalived { version, priority, interval, addresses, password, preempt, virtual_mac, more } = wanted;
    let auth = password
        .map_or(String::new(), |text| format!("authentication {{\n auth_type PASS\n auth_pass {text}\n}}"));
    let vmac = if *virtual_mac { "use_vmac" } else { "" };
    let preempt = if *preempt { "" } else { "nopreempt" };
    let addresses = addresses.join("\n");
    let text = format!(
        "global_defs {{
           router_id stage
           vrrp_version {version}
           vrrp_garp_master_delay 1
         }}
         vrrp_instance stage {{
           state BACKUP
           interface eth0
           virtual_router_id {VRID}
           priority {priority}
           advert_int {interval}
           {vmac}
           {preempt}
           {auth}
           {more}
           virtual_ipaddress {{
             {addresses}
           }}
         }}\n"
    );
    let file = machine.folder().join("keepalived.conf");
    fs::write(&file, text).expect("written");
    let path = |name: &str| machine.folder().join(name).display().to_string();
    let [configuration, parent, vrrp] =
        [file.display().to_string(), path("keepalived.pid"), path("keepalived-vrrp.pid")];
    let arguments = ["-n", "-l", "-D", "-P", "-f", &configuration, "-p", &parent, "-r", &vrrp];
    machine.start("keepalived", "keepalived", &arguments)
}

/// What ucarp is to do.
#[derive(Clone, Copy, Debug)]
pub struct Carp<'a> {
    /// Added to the interval of a second, in 1/256 s.
    pub advskew: u8,
    /// Whether it takes the role from a slower one.
    pub preempt: bool,
    /// The password.
    pub password: &'a str,
    /// Its own address.
    pub source: &'a str,
    /// The virtual address.
    pub address: &'a str,
}

/// Starts ucarp on `machine`; it puts the address on `eth0` while it is master.
pub fn carp_peer(machine: &Machine, wanted: &Carp<'_>) -> Running {
    let script = |name: &str, verb: &str| {
        let file = machine.folder().join(name);
        let text = format!("#!/bin/sh\nip address {verb} {}/32 dev \"$1\"\n", wanted.address);
        fs::write(&file, text).expect("written");
        machine.sh(&format!("chmod +x {}", file.display()));
        file.display().to_string()
    };
    let (up, down) = (script("up", "add"), script("down", "del"));
    let (vhid, skew) = (VRID.to_string(), wanted.advskew.to_string());
    let mut arguments = vec![
        "-i",
        "eth0",
        "-s",
        wanted.source,
        "-v",
        &vhid,
        "-p",
        wanted.password,
        "-a",
        wanted.address,
        "-u",
        &up,
        "-d",
        &down,
        "-b",
        "1",
        "-k",
        &skew,
        "-z",
    ];
    if wanted.preempt {
        arguments.push("-P");
    }
    machine.start("ucarp", "ucarp", &arguments)
}
