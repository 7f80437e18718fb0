//! Remote access: what `[vpn]` means, in full and by default, and which of its ports others have.

use rempart_config::model::{
    InterfaceName, Name, VpnDemand, VpnListen, VpnPlace, VpnPort, VpnStrangers, VpnTunnel,
};
use rempart_config::{Model, Reading, read, render};

const BOX: &str = r#"
version = 1
node = "fw"
[interface.wan]
device = "e0"
zone = "wan"
address = ["203.0.113.2/24", "203.0.113.3/24", "2001:db8::2/64"]
gateway = "203.0.113.1"
[interface.fibre]
device = "e1"
zone = "wan"
address = "dhcp"
[interface.lan]
device = "e2"
zone = "lan"
address = ["192.168.10.1/24", "fd00:10::1/64"]
[host]
ad1 = ["192.168.10.11", "fd00:10::11"]
dc2 = "dc2.datatel.example"
nets = ["192.168.10.0/24", "192.168.10.255-192.168.11.0"]
"#;

fn reading(more: &str) -> Reading {
    read(&format!("{BOX}{more}"))
}

fn model(more: &str) -> Model {
    let text = format!("{BOX}{more}");
    let reading = read(&text);
    assert!(reading.diagnostics.is_empty(), "{}", render(&reading.diagnostics, "document", &text, false));
    reading.model.expect("no fault")
}

fn codes(more: &str) -> Vec<&'static str> {
    reading(more).diagnostics.iter().map(|d| d.code).collect()
}

fn place(interface: &str, address: Option<&str>) -> VpnPlace {
    (InterfaceName::new(interface), address.map(|a| a.parse().expect("an address")))
}

fn free(port: u16) -> VpnPort {
    VpnPort { port, taken: Default::default() }
}

#[test]
fn a_group_alone_is_enough() {
    // The document of before, a group with a pool: everything else has its default.
    let model = model("[vpn.group.agents]\npool = '10.77.10.0/24'\n");
    let vpn = model.vpn.as_ref().expect("remote access");
    let whole = |name| VpnListen { interface: InterfaceName::new(name), only: None };
    assert_eq!(vpn.listen, [whole("fibre"), whole("wan")]);
    assert_eq!((&vpn.udp, &vpn.tcp), (&free(1194), &Some(free(443))));
    assert_eq!((vpn.mtu, vpn.max_sessions, vpn.rekey_s, vpn.idle_s), (1500, 1000, 3600, 120));
    assert!(vpn.tls12 && vpn.remotes.is_empty() && !vpn.offload);
    assert!(vpn.strangers.is_none() && vpn.directory.is_none() && vpn.radius.is_none());
    assert_eq!(vpn.order, [Name::new("agents")]);
    assert_eq!((vpn.certificates.device_days, vpn.certificates.warn_days), (365, 30));
    let group = &model.vpn_groups["agents"];
    assert_eq!(group.demand, VpnDemand { certificate: true, password: true, code: true });
    assert_eq!((&group.tunnel, group.sessions_each, group.session_limit_s), (&VpnTunnel::Full, 3, None));
    assert_eq!(group.gateways().map(|g| g.to_string()).collect::<Vec<_>>(), ["10.77.10.1/24"]);
    // Of a wider pool the first part.
    let wide = reading("[vpn.group.g]\npool = 'fd00:77::/48'\n");
    assert_eq!(wide.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["vpn-pool"]);
    let wide = wide.model.expect("a warning").vpn_groups["g"].network6().expect("IPv6");
    assert_eq!(wide.to_string(), "fd00:77::/64");
    // Without a group there is nothing, whatever else stands in the table.
    assert!(reading("").model.expect("valid").vpn.is_none());
    assert_eq!(codes("[vpn]\nport = 1195\n"), ["no-effect"]);
}

#[test]
fn everything_can_be_said() {
    // Every key of the section; the model says the same.
    let model = model(
        "[vpn]\nlisten = ['lan', '203.0.113.3']\nport = 1195\ntcp = true\nremotes = ['VPN.Datatel.example.', '2001:db8::9']\n\
         mtu = 1400\nsessions = 50\nrekey = '2h'\nidle = '90s'\ntls = '1.3'\noffload = 'kernel'\nstrangers = 'radius'\n\
         [vpn.group.zeta]\npool = ['fd00:77::/64', '10.77.0.0/30']\ndemand = 'certificate'\ntunnel = 'split'\nwhy = 'w'\n\
         routes = ['nets', 'ad1']\ndns = ['192.168.10.12', 'ad1']\ndomain = 'Datatel.example'\nsearch = ['a.example', 'b.example']\n\
         sessions = 4\nsessions_each = 1\nlimit = '8h'\ndirectory_groups = ['CN=Field,DC=x', 'VPN agents']\n\
         [vpn.group.alpha]\npool = '10.78.0.0/24'\ndemand = ['code', 'password']\n\
         [vpn.directory]\ndomain = 'datatel.example'\ncontrollers = ['ad1', 'dc2', 'x.datatel.example']\nauthority = 'ca'\nport = 3269\n\
         [vpn.radius]\nservers = ['192.168.10.14', 'ad1']\nsecret = 'radius'\nport = 1645\nsource = '192.168.10.1'\ngroup = 'alpha'\n\
         [vpn.certificates]\norganisation = 'DataTel'\ndevice_days = 90\nwarn_days = 7\n",
    );
    let vpn = model.vpn.as_ref().expect("remote access");
    let places: Vec<_> = vpn
        .listen
        .iter()
        .flat_map(|l| {
            let interface = &model.interfaces[&l.interface];
            l.places(interface, interface.addresses.get(model.node("fw").expect("the node")))
        })
        .collect();
    assert_eq!(
        places,
        [
            place("lan", Some("192.168.10.1")),
            place("lan", Some("fd00:10::1")),
            place("wan", Some("203.0.113.3"))
        ]
    );
    assert_eq!((&vpn.udp, &vpn.tcp), (&free(1195), &Some(free(443))));
    assert_eq!(vpn.remotes, ["vpn.datatel.example", "2001:db8::9"]);
    assert_eq!((vpn.mtu, vpn.max_sessions, vpn.rekey_s, vpn.idle_s, vpn.tls12), (1400, 50, 7200, 90, false));
    assert!(vpn.offload);
    assert_eq!(vpn.strangers, Some(VpnStrangers::Radius));
    assert_eq!(vpn.order, [Name::new("zeta"), Name::new("alpha")], "as the document has them");
    let zeta = &model.vpn_groups["zeta"];
    let gateways: Vec<_> = zeta.gateways().map(|g| g.to_string()).collect();
    assert_eq!(gateways, ["10.77.0.1/30", "fd00:77::1/64"]);
    assert_eq!(zeta.demand, VpnDemand { certificate: true, password: false, code: false });
    let VpnTunnel::Split { routes, why } = &zeta.tunnel else { panic!("split") };
    let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
    assert_eq!(
        (routes.join(" "), why.as_str()),
        ("192.168.10.0/24 192.168.11.0/32 fd00:10::11/128".into(), "w")
    );
    let dns: Vec<_> = zeta.dns.iter().map(ToString::to_string).collect();
    assert_eq!(dns, ["192.168.10.12", "192.168.10.11", "fd00:10::11"]);
    assert_eq!(zeta.domain.as_ref().map(|d| d.as_str()), Some("datatel.example"));
    assert_eq!(zeta.search.iter().map(|d| d.as_str()).collect::<Vec<_>>(), ["a.example", "b.example"]);
    assert_eq!((zeta.max_sessions, zeta.sessions_each, zeta.session_limit_s), (Some(4), 1, Some(28_800)));
    assert_eq!(zeta.directory_groups, ["CN=Field,DC=x", "VPN agents"]);
    let alpha = &model.vpn_groups["alpha"];
    assert_eq!(alpha.demand, VpnDemand { certificate: false, password: true, code: true });
    let directory = vpn.directory.as_ref().expect("a directory");
    let names: Vec<_> = directory.controllers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ad1.datatel.example", "dc2.datatel.example", "x.datatel.example"]);
    let looked_up: Vec<_> = directory.controllers.iter().map(|(_, hosts)| hosts.names.len()).collect();
    assert_eq!((looked_up, directory.port, directory.authority.as_str()), (vec![0, 1, 1], 3269, "ca"));
    let radius = vpn.radius.as_ref().expect("RADIUS");
    assert_eq!((radius.servers.len(), radius.port, radius.secret.as_str()), (2, 1645, "radius"));
    assert_eq!(
        (radius.source, radius.group.as_ref()),
        ("192.168.10.1".parse().ok(), Some(&Name::new("alpha")))
    );
    let made = &vpn.certificates;
    assert_eq!((made.organisation.as_str(), made.device_days, made.warn_days), ("DataTel", 90, 7));
}

/// What publishes, and what comes of the usual ports and of ones that the document names.
#[test]
fn published_ports_are_left_to_whoever_publishes_them() {
    let group = "[vpn.group.g]\npool = '10.77.0.0/24'\n";
    let flow = |service: &str, publish: &str| {
        format!(
            "[[flow]]\nfrom = 'wan'\nto = 'lan:192.168.10.9'\nallow = ['{service}']\npublish = {publish}\n"
        )
    };
    let taken = |more: &str| {
        let reading = reading(more);
        let model = reading.model.unwrap_or_else(|| panic!("{:#?}", reading.diagnostics));
        let vpn = model.vpn.expect("remote access");
        (
            vpn.udp.taken.into_iter().collect::<Vec<_>>(),
            vpn.tcp.map(|t| t.taken.into_iter().collect::<Vec<_>>()),
        )
    };
    // Published on every IPv4 address of the zone, leases too; IPv6 is not translated.
    let (udp, tcp) = taken(&format!("{group}{}", flow("https", "true")));
    let every = [place("fibre", None), place("wan", Some("203.0.113.2")), place("wan", Some("203.0.113.3"))];
    assert_eq!((udp, tcp), (Vec::new(), Some(every.to_vec())));
    // On one address, and under another number.
    let (_, tcp) = taken(&format!("{group}{}", flow("tcp/8443", "{ address = '203.0.113.3', port = 443 }")));
    assert_eq!(tcp, Some(vec![place("wan", Some("203.0.113.3"))]));
    let (_, tcp) = taken(&format!("{group}{}", flow("https", "{ port = 8443 }")));
    assert_eq!(tcp, Some(Vec::new()));
    let (udp, _) = taken(&format!("{group}{}", flow("udp/1000-2000", "{ address = '203.0.113.2' }")));
    assert_eq!(udp, [place("wan", Some("203.0.113.2"))]);
    let verdicts = [
        ("", "https", vec!["vpn-port-taken"]),
        ("tcp = false", "https", vec![]),
        ("tcp = 8443", "https", vec![]),
        ("tcp = 443", "https", vec!["vpn-port-taken"]),
        ("tcp = true", "https", vec!["vpn-port-taken"]),
        ("listen = 'lan'\ntcp = 443", "https", vec![]),
        ("listen = '2001:db8::2'\ntcp = 443", "https", vec![]),
        ("port = 1194\ntcp = false", "udp/1194", vec!["vpn-port-taken"]),
        ("tcp = false", "tcp/1194", vec![]),
    ];
    for (settings, service, wanted) in verdicts {
        let text = format!("[vpn]\n{settings}\n{group}{}", flow(service, "true"));
        let out = reading(&text);
        let codes: Vec<_> = out.diagnostics.iter().map(|d| d.code).collect();
        assert_eq!(codes, wanted, "{settings}");
        let named = settings.contains("= 443") || settings.contains("true") || settings.contains("1194");
        assert_eq!(
            out.model.is_none(),
            named && !wanted.is_empty(),
            "{settings}: an error where the port is named"
        );
    }
    // Those inside who reach a published service by its outside address come to it, not to the box.
    let reflected = format!(
        "{group}[vpn]\nlisten = ['lan']\ntcp = 443\n{}",
        flow("https", "{ address = '192.168.10.1' }")
    );
    assert!(codes(&reflected).contains(&"vpn-port-taken"));
}

/// Where nobody can connect, and where a tunnel cannot move.
#[test]
fn places_that_are_of_no_use_are_told() {
    let group = "[vpn.group.g]\npool = '10.77.0.0/24'\n";
    let inside = BOX.replace("zone = \"wan\"", "zone = \"x\"");
    let codes: Vec<_> = read(&format!("{inside}{group}")).diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["vpn-listen"]);
    // What answers nothing, and what is on the link alone, cannot be connected to.
    let silent = BOX.replace(
        "gateway = \"203.0.113.1\"",
        "virtual = [{ address = '203.0.113.9/24', vrid = 1, accept = false }]\ngateway = '203.0.113.1'",
    );
    for (address, wanted) in
        [("203.0.113.9", vec!["vpn-listen"]), ("fe80::1", vec!["vpn-listen"]), ("203.0.113.2", vec![])]
    {
        let out = read(&format!("{silent}[vpn]\nlisten = '{address}'\n{group}"));
        assert_eq!(out.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), wanted, "{address}");
    }
    let many: String = (10..20).map(|n| format!("'203.0.113.{n}/24', ")).collect();
    let many = BOX.replace("address = [\"203.0.113.2/24\", ", &format!("address = [{many}"));
    let read_many = |more: &str| {
        let reading = read(&format!("{many}{more}"));
        (reading.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), reading.model.is_some())
    };
    assert_eq!(read_many(group), (vec!["too-large"], true), "by default it is told");
    assert_eq!(read_many(&format!("[vpn]\nlisten = 'wan'\n{group}")), (vec!["too-large"], false));
}
