//! What the audit sees in a document: a careful one, and one with each line broken.

use jiff::civil::date;
use rempart_plan::{Facts as PlanFacts, Ids, Role};

use super::*;

const HEAD: &str = r#"
version = 1
node = "fw"
[interface.wan]
device  = "eth0"
zone    = "wan"
address = "203.0.113.2/24"
gateway = "203.0.113.1"
[interface.lan]
device  = "eth1"
zone    = "lan"
address = "192.168.10.254/24"
[interface.adm]
device  = "eth2"
zone    = "adm"
address = "192.168.30.254/24"
[zone.lan]
anti_spoof = true
[zone.adm]
anti_spoof = true
[host]
admins = "192.168.30.11"
"#;

const CAREFUL: &str = r#"
[[flow]]
id = "admin"
from = "adm:admins"
to = "firewall"
allow = ["ssh"]
log = true
why = "administration"
owner = "it"
[[flow]]
id = "web"
from = "lan"
to = "wan"
allow = ["https"]
why = "the web"
owner = "it"
"#;

fn seen(document: &str, redundant: &[&str]) -> Policy {
    let text = format!("{HEAD}{document}");
    let reading = rempart_config::read(&text);
    let report = rempart_config::render(&reading.diagnostics, "document", &text, false);
    let model = reading.model.unwrap_or_else(|| panic!("{report}"));
    let node = model.node("fw").expect("the node");
    let ids = Ids::default().assign(&model);
    let plan = Plan::of(&model, node, Role::Active, &PlanFacts::default(), &ids).expect("a plan");
    Policy::of(InForce {
        model: &model,
        plan: &plan,
        redundant: &redundant.iter().map(|r| (*r).to_owned()).collect(),
        comment: "first",
        held: true,
        today: date(2026, 11, 22),
    })
}

fn words(policy: &Policy, known: Known) -> String {
    policy.facts.get(Fact::Known(known)).expect("seen").to_string()
}

#[test]
fn a_careful_document_gives_no_cause() {
    // A document as the guides want it in; nothing to name out.
    let policy = seen(CAREFUL, &[]);
    for known in [
        Known::AdministrationFromAnywhere,
        Known::SharedAdministration,
        Known::Spoofable,
        Known::WithoutReason,
        Known::WithoutOwner,
        Known::AnyToAny,
        Known::AnyService,
        Known::Shadowed,
        Known::Expired,
        Known::OpenToFirewall,
        Known::OpenFromFirewall,
        Known::SilentAdministration,
        Known::AnswersOutside,
        Known::ShownOutside,
    ] {
        assert_eq!(words(&policy, known), "", "{known:?}");
    }
    assert_eq!(words(&policy, Known::Final), "drop, logged");
    assert_eq!(words(&policy, Known::InForce), "yes");
    assert!(policy.admitted.has(TCP, SSH));
    assert!(!policy.admitted.has(TCP, 23));
    assert!(policy.devices.expect("devices").contains("eth2"));
}

#[test]
fn each_careless_line_is_named() {
    // A document with one careless line in; the fact that is about it names it.
    let flow = |rest: &str| format!("{CAREFUL}\n[[flow]]\nid = \"bad\"\n{rest}\n");
    let full = |rest: &str| flow(&format!("why = \"w\"\nowner = \"o\"\n{rest}"));
    let cases = [
        (Known::WithoutReason, flow("owner = \"o\"\nfrom = \"lan\"\nto = \"wan\"\nallow = [\"dns\"]")),
        (Known::WithoutOwner, flow("why = \"w\"\nfrom = \"lan\"\nto = \"wan\"\nallow = [\"dns\"]")),
        (Known::AnyToAny, full("from = \"any\"\nto = \"any\"\nallow = [\"dns\"]")),
        (Known::AnyService, full("from = \"lan\"\nto = \"wan\"\nallow = [\"any\"]")),
        (Known::OpenToFirewall, full("from = \"lan\"\nto = \"firewall\"\nallow = [\"any\"]")),
        (Known::OpenFromFirewall, full("from = \"firewall\"\nto = \"wan\"\nallow = [\"any\"]")),
        (Known::SilentAdministration, full("from = \"adm\"\nto = \"firewall\"\nallow = [\"ssh\"]")),
        (Known::AdministrationFromAnywhere, full("from = \"wan\"\nto = \"firewall\"\nallow = [\"ssh\"]")),
        (Known::Expired, full("from = \"lan\"\nto = \"wan\"\nallow = [\"dns\"]\nexpires = 2026-11-21")),
        (Known::AnswersOutside, full("from = \"wan\"\nto = \"lan\"\nreject = [\"ident\"]")),
    ];
    for (known, document) in cases {
        let document = document.replace("reject = [\"ident\"]", "reject = [\"tcp/113\"]");
        assert_eq!(words(&seen(&document, &[]), known), "bad", "{known:?}");
    }
    assert_eq!(words(&seen(CAREFUL, &["web"]), Known::Shadowed), "web");
}

#[test]
fn zones_that_serve_two_ends_are_named() {
    // Administrators among the users, no anti-spoofing, no translation; each zone is named.
    let shared = full_of("lan", "from = \"lan\"\nto = \"firewall\"\nallow = [\"ssh\"]");
    assert_eq!(words(&seen(&shared, &[]), Known::SharedAdministration), "lan");
    let manual = format!("{CAREFUL}\n[nat]\noutbound = \"manual\"\n");
    assert_eq!(words(&seen(&manual, &[]), Known::ShownOutside), "adm, lan");
}

fn full_of(id: &str, rest: &str) -> String {
    format!("{CAREFUL}\n[[flow]]\nid = \"{id}\"\nwhy = \"w\"\nowner = \"o\"\nlog = true\n{rest}\n")
}

#[test]
fn before_a_policy_there_is_none() {
    // Nothing committed in; nothing but that out.
    let policy = Policy::none();
    assert_eq!(policy.facts.get(Fact::Known(Known::RevisionComment)), Some(&Seen::Absent));
    assert!(policy.devices.is_none());
}
