//! The other example.

use rempart_end_to_end::{Document, Stage, datatel, example};
use rempart_lab::{Lab, Topology, Transport, skip_unless_root, wait_until};

/// In: the example of one box in its public network. Out: it commits without a fault, publishes its site and filters by address.
#[test]
fn billu_stands() {
    skip_unless_root!();
    let whole = std::fs::read_to_string(example("billu.toml")).expect("the example");
    // Not every kernel that tests run on has VLANs: there, the telephones have a cable of their own.
    let cabled = Document::new(&whole)
        .replace("vlan        = { parent = \"lan\", id = 40 }", "device      = \"enp4s0\"");
    let stage = Stage::bare(&cabled);
    let vlan = stage.node.host().ip("link add link enp2s0 name trial type vlan id 99\nlink del trial\n");
    stage.commit(&if vlan.is_ok() { Document::new(&whole) } else { cabled });
    let faults = stage.faults();
    assert!(faults.iter().all(|f| f.contains("name-unresolved") || f.contains("block-list")), "{faults:?}");
    let site = stage.host("cli-wan").http_get("http://203.0.113.2/", std::time::Duration::from_secs(3));
    assert_eq!(site.expect("a page").body, "srv-ebrigade\n");
    let refused = stage
        .host("cli-wan")
        .probe(Transport::Tcp, "203.0.113.4:990".parse().unwrap())
        .run()
        .expect("a probe");
    assert!(!refused.passes(), "only customers may");
    // The list of scanners is on no test machine.
    let found =
        || stage.faults().iter().all(|f| f.contains("block-list: block list scanners cannot be read"));
    assert!(
        wait_until(rempart_end_to_end::SOON * 2, found),
        "the operator's name is found: {:?}",
        stage.faults()
    );
}

/// In: the other node's half of the example of two boxes. Out: the second node commits the same document with its own addresses.
#[test]
fn the_second_node_takes_the_same_document() {
    skip_unless_root!();
    let file = example("datatel.toml");
    let topology = Topology::of_document(&file).expect("a topology").only_router("rte02");
    let lab = Lab::builder().topology(topology).up().expect("a lab");
    let node = lab.start_node("rte02").expect("a node");
    node.commit(&file, "datatel").expect("a commit");
    let stage = Stage { node, lab };
    assert!(stage.snapshot().addresses.contains("192.168.10.2/24"));
    assert_eq!(stage.node.must(&["show", "1"]).expect("a document"), datatel().text());
}
