//! Each folder of `tests/golden` holds a document and the plan that must come of it, for the first node in
//! the active role. `REMPART_BLESS=1` rewrites the plans; read the difference before keeping it.

use std::path::Path;
use std::{env, fs};

use rempart_config::model::Fqdn;
use rempart_config::space::AddressSet;
use rempart_plan::{Facts, Ids, Lease, Plan, Role, print};

/// Facts that a document may lean on: a lease on `wan`, one resolved name, one block list.
fn facts() -> Facts {
    let mut facts = Facts::default();
    let lease = Lease {
        address: "203.0.113.100/24".parse().expect("network"),
        gateway: Some("203.0.113.1".parse().expect("address")),
        dns: Vec::new(),
    };
    facts.leases.insert(rempart_config::model::InterfaceName::new("wan"), lease);
    let partner = AddressSet::one("198.51.100.99".parse().expect("address"));
    facts.names.insert(Fqdn::new("gw.partner.example"), partner);
    let bad = AddressSet::network("198.51.100.128/25".parse().expect("network"));
    facts.blocklists.insert(rempart_config::model::Name::new("bad"), std::sync::Arc::new(bad));
    facts
}

#[test]
fn documents_give_their_plans() {
    let bless = env::var_os("REMPART_BLESS").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = 0;
    for case in fs::read_dir(&root).expect("golden folder") {
        let folder = case.expect("case").path();
        let text = fs::read_to_string(folder.join("document.toml")).expect("document");
        let reading = rempart_config::read(&text);
        let report = rempart_config::render(&reading.diagnostics, "document.toml", &text, false);
        let model = reading.model.unwrap_or_else(|| panic!("{}:\n{report}", folder.display()));
        assert!(reading.diagnostics.is_empty(), "{}:\n{report}", folder.display());
        let node = model.node(model.nodes[0].as_str()).expect("first node");
        let ids = Ids::default().assign(&model);
        let facts = facts();
        let plan = Plan::of(&model, node, Role::Active, &facts, &ids).expect("compiles");
        let printed = print::plan(&plan, &model, &model.nodes[0], &facts, &ids);
        let expected = folder.join("plan");
        if bless {
            fs::write(&expected, &printed).expect("write plan");
        } else {
            let wanted = fs::read_to_string(&expected).unwrap_or_default();
            assert!(printed == wanted, "{}: the plan differs; REMPART_BLESS=1 rewrites it", folder.display());
        }
        cases += 1;
    }
    assert!(cases >= 2, "no golden cases found");
}
