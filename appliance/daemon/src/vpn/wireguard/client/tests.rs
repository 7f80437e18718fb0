use super::*;

/// A gateway at two addresses, with a client and a branch.
fn plan() -> WireguardPlan {
    let peer = |name: &str, key, allowed: &[&str]| WireguardPeerPlan {
        name: name.into(),
        public_key: [key; 32],
        preshared_key: None,
        allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        endpoint: None,
        keepalive_s: None,
    };
    WireguardPlan {
        device: "wg0".into(),
        listen: vec!["203.0.113.100:51820".parse().unwrap(), "[2001:db8::100]:51820".parse().unwrap()],
        addresses: vec!["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()],
        routes: Vec::new(),
        mtu: 1420,
        private_key: "wireguard".into(),
        peers: vec![
            peer("alice", 1, &["10.99.0.10/32", "fd99::10/128", "192.168.44.0/24"]),
            peer("branch", 2, &["10.99.0.2/32", "10.99.0.4/30", "fd99::2/128"]),
        ],
    }
}

fn asked(peer: &str) -> WireguardClientRequest {
    WireguardClientRequest { peer: peer.into(), ..WireguardClientRequest::default() }
}

fn key() -> Secret {
    Secret::private(Zeroizing::new([7; 32]))
}

fn made(request: &WireguardClientRequest) -> Result<WireguardClient, Error> {
    let (plan, key) = (plan(), key());
    make(&Parts { plan: &plan, gateway: PublicKey([9; 32]), key: &key, preshared: None }, request)
}

fn refusal(request: &WireguardClientRequest) -> Option<RefusalCode> {
    match made(request) {
        Err(Error::Refused(text)) => RefusalCode::of(&text),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

/// A new peer gets the first addresses that nobody has; everything goes into the tunnel, and the file is what `wg-quick` reads.
#[test]
fn a_new_client_gets_what_is_free() {
    let made = made(&asked("bob")).unwrap();
    let gateway = PublicKey([9; 32]);
    let wanted = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.99.0.3/32, fd99::3/128\n\n[Peer]\nPublicKey = {gateway}\n\
         AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 203.0.113.100:51820\nPersistentKeepalive = 25\n",
        *key().to_base64()
    );
    assert_eq!(made.text, wanted);
    assert_eq!(made.file, "bob.conf");
    assert_eq!(made.public_key, key().public().to_string());
    assert!(made.qr.len() > 40 && made.qr.len() < 64, "{} lines", made.qr.len());
    // What it says of itself is what the document takes.
    let document = format!(
        "version = 1\nnode = 'fw'\n[interface.wan]\ndevice = 'eth0'\nzone = 'wan'\naddress = '203.0.113.100/24'\n\
         [wireguard]\nenabled = true\naddress = ['10.99.0.1/24', 'fd99::1/64']\nprivate_key = 'wireguard'\n{}",
        made.entry
    );
    let model = rempart_config::read(&document).model.expect("a document");
    let peer = &model.wireguard.unwrap().peers[&rempart_config::model::Name::new("bob")];
    assert_eq!(peer.public_key, key().public().0);
    assert_eq!(peer.addresses, ["10.99.0.3/32".parse().unwrap(), "fd99::3/128".parse().unwrap()]);
}

/// One that the document has keeps its addresses, and what lies behind it; a preshared key stands in the file, its name in the
/// document.
#[test]
fn a_known_client_keeps_what_it_has() {
    let (plan, key, shared) = (plan(), key(), Secret::new([3; 32]));
    let preshared = Some(("alice-psk", &shared));
    let parts = Parts { plan: &plan, gateway: PublicKey([9; 32]), key: &key, preshared };
    let request = WireguardClientRequest {
        routes: vec!["192.168.10.0/24".into(), "192.168.20.11".into()],
        dns: vec!["192.168.10.11".into()],
        endpoint: Some("vpn.example.org".into()),
        ..asked("alice")
    };
    let made = make(&parts, &request).unwrap();
    for line in [
        "Address = 10.99.0.10/32, fd99::10/128",
        "DNS = 192.168.10.11",
        &format!("PresharedKey = {}", *shared.to_base64()),
        "AllowedIPs = 192.168.10.0/24, 192.168.20.11/32",
        "Endpoint = vpn.example.org:51820",
    ] {
        assert!(made.text.lines().any(|found| found == line), "{line}: {}", made.text);
    }
    assert!(made.entry.contains("address = [\"10.99.0.10/32\", \"fd99::10/128\", \"192.168.44.0/24\"]"));
    assert!(made.entry.contains("preshared_key = \"alice-psk\""), "{}", made.entry);
    assert!(!made.entry.contains(shared.to_base64().as_str()));
}

/// What is no address, no place, somebody else's, outside, or would write lines of its own is refused.
#[test]
fn what_makes_no_sense_is_refused() {
    let with = |change: fn(&mut WireguardClientRequest)| {
        let mut request = asked("bob");
        change(&mut request);
        refusal(&request)
    };
    assert_eq!(with(|_| {}), None);
    assert_eq!(with(|r| r.addresses = vec!["10.99.0.77".into()]), None);
    assert_eq!(with(|r| r.endpoint = Some("[2001:db8::7]:443".into())), None);
    for (request, wanted) in [
        (with(|r| r.peer = "b/ob".into()), RefusalCode::BadField),
        (with(|r| r.peer = "b\n[x]".into()), RefusalCode::BadField),
        (with(|r| r.addresses = vec!["10.98.0.7".into()]), RefusalCode::BadField),
        (with(|r| r.addresses = vec!["10.99.0.10".into()]), RefusalCode::Taken),
        (with(|r| r.addresses = vec!["10.99.0.5".into()]), RefusalCode::Taken),
        (with(|r| r.addresses = vec!["10.99.0.1".into()]), RefusalCode::Taken),
        (with(|r| r.routes = vec!["all".into()]), RefusalCode::BadField),
        (with(|r| r.routes = vec!["10.0.0.0/8".into(); 65]), RefusalCode::BadField),
        (with(|r| r.dns = vec!["resolver".into()]), RefusalCode::BadField),
        (with(|r| r.endpoint = Some("a b".into())), RefusalCode::BadField),
        (with(|r| r.endpoint = Some("host:0".into())), RefusalCode::BadField),
        (with(|r| r.endpoint = Some("host\nPostUp = id".into())), RefusalCode::BadField),
    ] {
        assert_eq!(request, Some(wanted));
    }
    let mut full = plan();
    full.addresses = vec!["10.99.0.1/30".parse().unwrap()];
    let key = key();
    let parts = Parts { plan: &full, gateway: PublicKey([9; 32]), key: &key, preshared: None };
    let Err(Error::Refused(text)) = make(&parts, &asked("bob")) else { panic!("there is no room") };
    assert_eq!(RefusalCode::of(&text), Some(RefusalCode::Full));
}
