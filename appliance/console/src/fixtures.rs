//! Documents as a daemon would send them, for the tests. The fake daemon of `tests/` sends the same files.

use rempart_bus::documents::{
    CheckReport, CommitReport, Connection, Explanation, FlowStatus, LogPage, Revision, Status,
};
use rempart_bus::ha::HaStatus;

macro_rules! fixture {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $file:literal;)+) => {
        $($(#[$doc])* pub fn $name() -> $type {
            serde_json::from_str(include_str!(concat!("../tests/fixtures/", $file))).expect($file)
        })+
    };
}

fixture! {
    /// An active node with a fault.
    status: Status = "status.json";
    /// The same with a commit on trial.
    status_pending: Status = "status-pending.json";
    /// Eight flows.
    flows: Vec<FlowStatus> = "flows.json";
    /// Six connections.
    connections: Vec<Connection> = "connections.json";
    /// Six log entries.
    log: LogPage = "log.json";
    /// Four revisions.
    history: Vec<Revision> = "history.json";
    /// A good document with a warning.
    check_valid: CheckReport = "check-valid.json";
    /// A document with an error.
    check_invalid: CheckReport = "check-invalid.json";
    /// A document whose assertion fails.
    check_assertion: CheckReport = "check-assertion.json";
    /// A packet that is let through.
    explanation: Explanation = "explanation.json";
    /// A pair that is not wholly well.
    ha_status: HaStatus = "ha-status.json";
    /// A commit on trial.
    commit: CommitReport = "commit.json";
}

/// A unified diff.
pub const DIFF: &str = include_str!("../tests/fixtures/candidate.diff");

/// A pair whose documents have diverged.
pub fn diverged() -> HaStatus {
    let mut status = ha_status();
    status.configuration.state = "diverged".into();
    status
}

/// WireGuard with a branch that was heard just now and a phone that never was.
pub fn wireguard() -> rempart_bus::vpn::WireguardStatus {
    let peer = |name: &str, net: &str, endpoint: Option<&str>, handshake: Option<&str>| {
        rempart_bus::vpn::WireguardPeerView {
            name: name.into(),
            public_key: WIREGUARD_KEY.into(),
            allowed: vec![net.into(), "192.168.44.0/24".into()],
            endpoint: endpoint.map(str::to_owned),
            handshake: handshake.map(str::to_owned),
            bytes_in: if handshake.is_some() { 1_204_551 } else { 0 },
            bytes_out: if handshake.is_some() { 88_213_402 } else { 0 },
        }
    };
    rempart_bus::vpn::WireguardStatus {
        version: 1,
        node: "rte01".into(),
        enabled: true,
        active: true,
        backend: "userspace".into(),
        device: "wg0".into(),
        listen: vec!["203.0.113.100:51820".into()],
        addresses: vec!["10.99.0.1/24".into()],
        public_key: Some(WIREGUARD_KEY.into()),
        trouble: Some("the secret `alice-psk` of WireGuard cannot be read: this peer is left out".into()),
        peers: vec![
            peer("alice", "10.99.0.10/32", None, None),
            peer("branch", "10.99.0.20/32", Some("198.51.100.7:51820"), Some("2026-11-22T07:58:12Z")),
        ],
    }
}

const WIREGUARD_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Three sessions of remote access.
pub fn sessions() -> Vec<rempart_bus::vpn::SessionView> {
    let session =
        |id, user: &str, label: Option<&str>, from: &str, since: &str| rempart_bus::vpn::SessionView {
            id,
            user: user.into(),
            device: label.map(|_| "0102030405060708".into()),
            label: label.map(str::to_owned),
            group: "agents".into(),
            from: from.into(),
            transport: "udp".into(),
            addresses: vec![format!("10.90.0.{}", id + 2)],
            since: since.into(),
            bytes_in: 1_204_551,
            bytes_out: 88_213_402,
            cipher: "AES-256-GCM".into(),
            client: "2.6.14 linux".into(),
            ..Default::default()
        };
    vec![
        session(0, "alice", Some("portable"), "198.51.100.7:40112", "2026-11-22T01:12:12Z"),
        session(7, "bob", None, "[2001:db8:77:1::1f]:1194", "2026-11-21T09:58:12Z"),
        session(
            9,
            "charlotte.dupont",
            Some("téléphone de garde"),
            "203.0.113.200:61001",
            "2026-11-22T01:49:01Z",
        ),
    ]
}

/// A box with four ports, two of which have a cable.
pub fn setup_status() -> rempart_bus::setup::SetupStatus {
    let port = |n: u8, driver: &str, speed| rempart_bus::setup::PortStatus {
        device: format!("enp{n}s0"),
        mac: format!("52:54:00:00:00:0{n}"),
        driver: driver.into(),
        speed_mbps: speed,
        link: speed.is_some(),
    };
    let ports = vec![
        port(1, "igc", Some(2500)),
        port(2, "igc", Some(1000)),
        port(3, "igc", None),
        port(4, "ixgbe", None),
    ];
    let node = rempart_bus::setup::UNNAMED.into();
    rempart_bus::setup::SetupStatus { node, committed: false, password: false, ports, live: None }
}

/// A box that was started from a stick: a disk that can be taken, one that is in use, a card that is too small.
pub fn disks() -> rempart_bus::update::DisksReport {
    let disk =
        |name: &str, model: &str, serial: &str, size_bytes, holds: &[&str], unfit: Option<(&str, &str)>| {
            rempart_bus::update::DiskView {
                name: name.into(),
                model: model.into(),
                serial: serial.into(),
                size_bytes,
                holds: holds.iter().map(ToString::to_string).collect(),
                brings: false,
                answer: if model.is_empty() {
                    format!("{} GB", size_bytes / 1_000_000_000)
                } else {
                    model.into()
                },
                unfit: unfit.map(|(code, detail)| rempart_bus::update::UnfitDisk {
                    code: code.into(),
                    detail: detail.into(),
                }),
            }
        };
    let disks = vec![
        disk(
            "nvme0n1",
            "INTEL SSDPEKKW256G7",
            "BTPY7301",
            240_057_409_536,
            &["nvme0n1p1 EFI vfat", "nvme0n1p2 ntfs Système"],
            None,
        ),
        disk("vda", "", "", 34_359_738_368, &["vda1 ext4 data"], Some(("in-use", "vda1 is mounted on /srv"))),
        disk("mmcblk0", "SD01G", "0x1f", 1_015_021_568, &[], Some(("small", "it has 1015 MB"))),
    ];
    rempart_bus::update::DisksReport { version: 1, stick: Some("sda".into()), disks }
}
