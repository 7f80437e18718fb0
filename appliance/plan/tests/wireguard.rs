//! WireGuard in the plan: where it listens, what is routed into it, and who may speak to it from outside.

use rempart_config::Model;
use rempart_plan::eval::{Arrival, Decider, Evaluator, Packet, Verdict};
use rempart_plan::wireguard::WireguardPlan;
use rempart_plan::{Facts, Ids, Plan, Role};

const DOCUMENT: &str = include_str!("../../config/tests/golden/wireguard-on/document.toml");

fn plan(text: &str) -> (Model, Plan) {
    let reading = rempart_config::read(text);
    let model = reading.model.unwrap_or_else(|| panic!("{:?}", reading.diagnostics));
    let node = model.node(model.nodes[0].as_str()).unwrap();
    let ids = Ids::default().assign(&model);
    let plan = Plan::of(&model, node, Role::Active, &Facts::default(), &ids).unwrap();
    (model, plan)
}

#[test]
fn the_plan_has_what_the_document_says() {
    let (model, plan) = plan(DOCUMENT);
    let made = WireguardPlan::of(&model, &plan.world).unwrap();
    assert_eq!((made.device.as_str(), made.mtu, made.private_key.as_str()), ("wg0", 1420, "wireguard"));
    assert_eq!(made.listen, ["203.0.113.2:51820".parse().unwrap()]);
    assert_eq!(made.addresses, ["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()]);
    assert_eq!(
        made.routes,
        ["192.168.44.0/24".parse().unwrap()],
        "the others are in the tunnel's own networks"
    );
    let branch = made.peers.iter().find(|peer| peer.name == "branch").unwrap();
    assert_eq!((branch.keepalive_s, branch.preshared_key.as_deref()), (Some(25), Some("branch-psk")));
    let wire = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<WireguardPlan>(&wire).unwrap(), made);
}

#[test]
fn a_virtual_address_is_listened_on_instead_of_the_nodes_own() {
    let text = DOCUMENT.replace(
        "zone = \"wan\"\n",
        "zone = \"wan\"\nvirtual = { address = \"203.0.113.10/28\", vrid = 7 }\n",
    );
    let (model, plan) = plan(&text);
    let made = WireguardPlan::of(&model, &plan.world).unwrap();
    assert_eq!(made.listen, ["203.0.113.10:51820".parse().unwrap()]);
}

#[test]
fn switched_off_there_is_nothing_of_it() {
    let (model, plan) = plan(&DOCUMENT.replace("enabled = true", "enabled = false"));
    assert_eq!(WireguardPlan::of(&model, &plan.world), None);
    let script = plan.ruleset.script().text;
    assert!(!script.contains("wg0") && !script.contains("51820"), "{script}");
    assert!(plan.world.leg_of("wg0").is_none());
}

/// The kernel comparison has the same in random; here are the cases by name.
#[test]
fn who_may_speak_to_it() {
    let (model, plan) = plan(DOCUMENT);
    let facts = Facts::default();
    let evaluator = Evaluator::new(&model, &plan.world, &facts);
    let leg = |device| plan.world.leg_of(device).unwrap();
    let judge = |arrival, source: &str, destination: &str, protocol, source_port, port| {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let out = evaluator.judge(&Packet { arrival, source, destination, protocol, source_port, port });
        (out.verdict, out.decider)
    };
    let wan = Arrival::Leg(leg("enp1s0"));
    let outside = (Verdict::Allow, Decider::System("WireGuard"));
    assert_eq!(judge(wan, "198.51.100.9", "203.0.113.2", 17, 7, 51820), outside);
    assert_eq!(judge(wan, "198.51.100.9", "203.0.113.2", 17, 7, 51821).1, Decider::Default);
    assert_eq!(judge(wan, "198.51.100.9", "203.0.113.2", 6, 7, 51820).1, Decider::Default);
    assert_eq!(judge(wan, "10.0.0.9", "203.0.113.2", 17, 7, 51820).1, Decider::Impossible);
    let lan = Arrival::Leg(leg("enp2s0"));
    assert_eq!(judge(lan, "192.168.10.9", "203.0.113.2", 17, 7, 51820).1, Decider::Default);
    assert_eq!(judge(Arrival::Local, "203.0.113.2", "198.51.100.9", 17, 51820, 7), outside);
    assert_eq!(judge(Arrival::Local, "203.0.113.2", "198.51.100.9", 17, 7, 51820).1, Decider::Default);

    let tunnel = Arrival::Leg(leg("wg0"));
    let to_lan = |source| judge(tunnel, source, "192.168.10.9", 6, 1000, 443);
    assert_eq!(to_lan("10.99.0.10"), (Verdict::Allow, Decider::Flow(0)));
    assert_eq!(to_lan("10.99.0.77"), (Verdict::Allow, Decider::Flow(0)));
    assert_eq!(to_lan("10.99.0.20").1, Decider::Default);
    assert_eq!(to_lan("192.168.10.5").1, Decider::AntiSpoof);
    assert_eq!(judge(lan, "192.168.10.9", "192.168.44.8", 6, 1, 2), (Verdict::Allow, Decider::Flow(1)));
}
