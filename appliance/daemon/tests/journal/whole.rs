//! From event to the other kernel.

use rempart_system::flowsync::Record;

use crate::common::in_namespace;
use crate::stage::*;

/// A few connections come, and go.
#[test]
fn connections_come_and_go() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        let flows: Vec<Record> = (0..100).map(|n| Record::Flow(nth(n))).collect();
        nodes[0].create(&flows);
        wait_equal(&nodes);
        assert_eq!(nodes[1].records().len(), 100);
        let identities: Vec<_> = flows.iter().take(50).map(Record::identity).collect();
        nodes[0].remove(&identities);
        wait_equal(&nodes);
        assert_eq!(nodes[1].records().len(), 50);
    });
}
