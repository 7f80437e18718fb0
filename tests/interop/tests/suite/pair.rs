//! Two of ours, as one of them sees the other: the role moves as a whole, and nothing is lost that need not be.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rempart_interop::{Machine, Running, Stage, plan, router, until};
use rempart_plan::ha::{HaPlan, MonitorPlan, RouterPlan};

const SOON: Duration = Duration::from_secs(15);
const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

fn routers(priority: u8) -> Vec<RouterPlan> {
    vec![router(&["192.0.2.1/32"], priority), router(&["fe80::1/64", "2001:db8::1/128"], priority)]
}

fn plan_of(index: u8) -> HaPlan {
    let gateway = Some("192.0.2.9".parse().expect("an address"));
    let monitor = MonitorPlan { interface: "lan".into(), device: "eth0".into(), gateway };
    HaPlan { monitors: vec![monitor], ..plan(index, routers(if index == 0 { 200 } else { 100 })) }
}

/// Both nodes running, the first one active.
struct Pair {
    ours: Running,
    theirs: Running,
    stage: Stage,
}

impl Pair {
    fn new() -> Self {
        let stage = Stage::new();
        stage.pair();
        let ours = stage.elector(&stage.ours, &plan_of(0));
        let theirs = stage.elector(&stage.theirs, &plan_of(1));
        let pair = Self { ours, theirs, stage };
        pair.settled(true);
        pair
    }

    /// Waits until the first node (or the second one) has both addresses and the other none.
    fn settled(&self, first: bool) {
        let (holder, other) = if first {
            (&self.stage.ours, &self.stage.theirs)
        } else {
            (&self.stage.theirs, &self.stage.ours)
        };
        until(&format!("{holder} is active, {other} is not"), SOON, || {
            [V4, V6].iter().all(|address| Stage::holds(holder, address) && !Stage::holds(other, address))
        });
        until("the addresses answer", SOON, || [V4, V6].iter().all(|a| self.stage.client.reaches(a)));
    }

    /// Pings the address every 2 ms while `f` runs, and half a second on. Gives how many were not answered.
    fn lost(&self, f: impl FnOnce()) -> u32 {
        let ping = self.stage.client.start("ping", "ping", &["-q", "-i", "0.002", V4]);
        std::thread::sleep(Duration::from_millis(300));
        f();
        std::thread::sleep(Duration::from_millis(500));
        ping.signal(Signal::SIGINT);
        until("ping counts", SOON, || ping.log().contains("received"));
        let log = ping.log();
        let counts: Vec<u32> = log
            .lines()
            .find(|line| line.contains("received"))
            .expect("a summary")
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        assert!(counts[0] > 30, "{log}");
        counts[0] - counts[1]
    }
}

fn carries(machine: &Machine) -> bool {
    Stage::holds(machine, V4)
}

/// In: both are started. Out: one is active, and from the other no frame leaves with a virtual Ethernet address, nor any that
/// the kernel makes by itself, in three seconds.
pub fn the_standby_is_silent() {
    let pair = Pair::new();
    let (tcpdump, file) =
        pair.stage.capture(&pair.stage.theirs, "ether src 00:00:5e:00:01:0a or ether src 00:00:5e:00:02:0a");
    // What the other one sends comes in by this port as well.
    pair.stage.theirs.sh("nft add table netdev t; nft add chain netdev t c '{ type filter hook egress device eth0 priority 0; }'
        nft add rule netdev t c ether saddr { 00:00:5e:00:01:0a, 00:00:5e:00:02:0a } counter");
    std::thread::sleep(Duration::from_secs(3));
    tcpdump.end();
    let seen = pair.stage.theirs.sh(&format!("tcpdump -n -r {} 2>/dev/null | wc -l", file.display()));
    assert!(
        seen.trim().parse::<u32>().expect("a number") > 20,
        "the active one's adverts should be seen: {seen}"
    );
    let counted = pair.stage.theirs.sh("nft list table netdev t");
    assert!(counted.contains("packets 0 bytes 0"), "{counted}");
}

/// In: the active node is asked to end. Out: the other one takes over, and not one ping is lost.
pub fn a_planned_end_loses_nothing() {
    let pair = Pair::new();
    let lost = pair.lost(|| {
        pair.ours.signal(Signal::SIGTERM);
        pair.settled(false);
    });
    assert_eq!(lost, 0);
}

/// In: the active node's worker is killed, ten times over half a minute. Out: it is back each time; the role does not move;
/// nothing is lost.
pub fn a_killed_worker_is_replaced() {
    let pair = Pair::new();
    let lost = pair.lost(|| {
        for _ in 0..4 {
            let before = pair.ours.children();
            for worker in &before {
                kill(Pid::from_raw(*worker), Signal::SIGKILL).expect("it runs");
            }
            until("another worker", SOON, || {
                let now = pair.ours.children();
                !now.is_empty() && now != before
            });
            std::thread::sleep(Duration::from_secs(3));
            assert!(carries(&pair.stage.ours) && !carries(&pair.stage.theirs));
        }
    });
    assert!(!pair.theirs.log().contains("PeerLost"), "the other node has noticed");
    assert_eq!(lost, 0);
}

/// In: the active node's cable on the LAN is pulled, and put back. Out: the role moves as a whole over the other cable,
/// and stays there.
pub fn a_lost_cable_moves_the_role() {
    let pair = Pair::new();
    let lost = pair.lost(|| {
        pair.stage.unplug("ours");
        until("the other one is active", SOON, || carries(&pair.stage.theirs));
    });
    // Two milliseconds each.
    assert!(lost <= 25, "{lost} pings lost");
    pair.stage.plug("ours");
    std::thread::sleep(Duration::from_secs(1));
    pair.settled(false);
}

/// In: the sync cable is cut; then it is put back. Out: nothing moves, nothing is lost.
pub fn a_cut_sync_cable_changes_nothing() {
    let pair = Pair::new();
    let lost = pair.lost(|| {
        pair.stage.theirs.sh("ip link set sync down");
        std::thread::sleep(Duration::from_secs(1));
        pair.stage.theirs.sh("ip link set sync up");
        std::thread::sleep(Duration::from_secs(1));
    });
    assert_eq!(lost, 0);
    pair.settled(true);
}

/// In: the switch drops VRRP and nothing else, for five seconds. Out: one node active all the time.
pub fn adverts_alone_decide_nothing() {
    let pair = Pair::new();
    pair.stage
        .switch
        .sh("nft add table bridge t; nft add chain bridge t c '{ type filter hook forward priority 0; }'
        nft add rule bridge t c ip protocol 112 drop; nft add rule bridge t c ip6 nexthdr 112 drop");
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(carries(&pair.stage.ours) && !carries(&pair.stage.theirs));
    }
}

/// In: power is cut: every process of the active node and all its cables. Out: the other one takes over when it has heard
/// nothing for two and a half heartbeats (a quarter of a second here), and answers.
pub fn a_power_cut_is_noticed() {
    let Pair { ours, theirs: _theirs, stage } = Pair::new();
    stage.unplug("ours");
    stage.theirs.sh("ip link set sync down");
    ours.kill();
    let took = until("the other one is active", SOON, || carries(&stage.theirs));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(stage.client.reaches(V4) && stage.client.reaches(V6));
}

/// In: all ways between the nodes are cut and healed. Out: two actives meanwhile, for there is nobody to ask; one within a
/// moment after.
pub fn a_healed_split_leaves_one() {
    let pair = Pair::new();
    let stage = &pair.stage;
    stage.switch.sh("nft add table bridge t; nft add chain bridge t c '{ type filter hook forward priority 0; }'
        nft add rule bridge t c iifname ours oifname theirs drop; nft add rule bridge t c iifname theirs oifname ours drop");
    for machine in [&stage.ours, &stage.theirs] {
        machine.sh("nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'
            nft add rule inet t c iifname sync drop");
    }
    until("both are active", SOON, || carries(&stage.ours) && carries(&stage.theirs));
    stage.switch.sh("nft delete table bridge t");
    for machine in [&stage.ours, &stage.theirs] {
        machine.sh("nft delete table inet t");
    }
    let took = until("one steps down", SOON, || carries(&stage.ours) != carries(&stage.theirs));
    assert!(took < Duration::from_millis(500), "{took:?}");
    std::thread::sleep(Duration::from_millis(300));
    assert!(carries(&stage.ours) != carries(&stage.theirs));
    assert!(stage.client.reaches(V4) && stage.client.reaches(V6));
}

/// In: the gateway does not answer the active node any more, but the other one. Out: the role moves; the gateway answers
/// again, and the role stays.
pub fn a_silent_gateway_moves_the_role() {
    let pair = Pair::new();
    let switch = &pair.stage.switch;
    switch.sh("nft add table bridge t; nft add chain bridge t c '{ type filter hook forward priority 0; }'
        nft add rule bridge t c iifname client oifname ours arp operation reply drop");
    until("the other one is active", SOON, || carries(&pair.stage.theirs) && !carries(&pair.stage.ours));
    switch.sh("nft delete table bridge t");
    until("the gateway answers", SOON, || pair.ours.log().contains("answers=true"));
    std::thread::sleep(Duration::from_secs(1));
    pair.settled(false);
}
