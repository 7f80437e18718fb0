//! Each version of the stock client against one gateway. `make test` has the machine's own and 2.7 in what matters most; all of
//! them in everything is `make test-vpn`'s.

use std::time::Duration;

use rempart_daemon::vpn::seam::{CutOff, FromPeople};

use crate::parts::{CODE, PASSWORD};
use crate::stage::{Client, Stage, Stock, can, plan};

/// What the client's version is called.
fn number(stock: Stock) -> &'static str {
    match stock {
        Stock::V25 => "2.5",
        Stock::Own => "2.6",
        Stock::V27 => "2.7",
    }
}

/// By the key of its own device and by the one that all share: ping and download over both families inside, renewals with the
/// token and without a loss, and the end.
fn works(stock: Stock) {
    let stage = Stage::new(1, &plan());
    for device in [stage.authority.device("alice"), stage.authority.device_of_old("alice")] {
        stage.crowd.lock().unwrap().logins.clear();
        let renewed = stage.nodes[0].status().counters.renewed;
        let mut client = Client::start(&stage.client, stock, "alice", &device, "reneg-sec 3");
        client.up();
        let session = stage.nodes[0].session();
        assert!(session.client.contains(number(stock)), "{session:?}");
        stage.ping("10.8.0.1", "-s 1472");
        stage.ping("fd00:8::1", "");
        stage.download(2_000_000);
        let said = stage.client.sh("ping -n -q -i 0.02 -c 400 -W 2 10.8.0.1");
        assert!(said.contains(" 0% packet loss"), "{said}");
        assert!(stage.nodes[0].status().counters.renewed >= renewed + 2);
        let logins = stage.crowd.lock().unwrap().logins.clone();
        assert_eq!(logins[0].1, "password");
        assert!(logins[1..].iter().all(|login| login.1 == "token"), "{logins:?}");
        client.assert_undisturbed();
        client.signal("-INT");
        stage.wait("the session is over", |stage| stage.nodes[0].status().sessions.is_empty());
        stage.wait("the client has ended", |_| client.has_ended());
    }
}

/// What `make test` has of 2.7.
#[test]
fn the_newest_client_works() {
    if can() && Stock::V27.is_here() {
        works(Stock::V27);
    } else {
        eprintln!("SKIPPED: openvpn 2.7 is not on this machine (make setup-clients)");
    }
}

#[test]
#[ignore = "half a minute for each version: `make test-vpn`"]
fn every_client_works() {
    if can() {
        Stock::all_here().for_each(works);
    }
}

/// 2.5 knows no exported keys: its data keys come from the PRF of TLS 1.0.
#[test]
#[ignore = "wants openvpn 2.5: `make test-vpn`"]
fn the_oldest_client_derives_its_keys_by_the_old_prf() {
    if !can() || !Stock::V25.is_here() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let client = stage.client_of(Stock::V25, "alice", "");
    client.up();
    stage.ping("10.8.0.1", "");
    let log = client.log();
    assert!(log.contains("OpenVPN 2.5"), "{log}");
    // What the newer ones are told: protocol-flags tls-ekm, or key-derivation tls-ekm.
    assert!(log.contains("PUSH: Received control message") && !log.contains("tls-ekm"), "{log}");
}

/// The versions of TLS that each has, AES-128 alone, a stranger, and a revoked one in the middle of a flow.
#[test]
#[ignore = "every version: `make test-vpn`"]
fn every_client_is_let_in_and_kept_out_alike() {
    if !can() {
        return;
    }
    for stock in Stock::all_here() {
        let stage = Stage::new(1, &plan());
        for (extra, version) in [("tls-version-max 1.2", "TLSv1.2"), ("tls-version-min 1.3", "TLSv1.3")] {
            let client = stage.client_of(stock, "alice", extra);
            client.up();
            assert!(client.log().contains(&format!("Control Channel: {version}")), "{}", client.log());
            stage.ping("10.8.0.1", "");
        }
        let weak = stage.client_of(stock, "bob", "data-ciphers AES-128-GCM");
        weak.wait("This server only speaks AES-256-GCM");
        drop(weak);
        stage.crowd.lock().unwrap().barred.insert("mallory".to_owned());
        stage.client_of(stock, "mallory", "").wait("AUTH_FAILED");
        let mut client = stage.client_of(stock, "carol", "");
        client.up();
        stage.ping("10.8.0.1", "");
        stage.crowd.lock().unwrap().barred.insert("carol".to_owned());
        stage.nodes[0].handle.people()(FromPeople::Cut(CutOff::User("carol".parse().unwrap())));
        client.wait("AUTH_FAILED");
        let sessions = stage.nodes[0].status().sessions;
        assert!(sessions.iter().all(|session| session.user != "carol"), "{sessions:?}");
        stage.wait("the client has ended", |_| client.has_ended());
    }
}

/// A code beside the password, as the profile asks for it; and one that the server asks for while the client connects. Renewals
/// ask for nothing.
fn is_asked_for_a_code(stock: Stock) {
    let stage = Stage::new(1, &plan());
    let queries = "management m unix\nmanagement-query-passwords\nreneg-sec 3\n";
    let asked = stage.client_of(stock, "alice", &format!("{queries}static-challenge \"Code?\" 1"));
    let mut person = asked.management();
    person.wait(">PASSWORD:Need 'Auth' username/password SC:1,Code?");
    person.say("username \"Auth\" alice");
    person.say(&format!("password \"Auth\" \"SCRV1:{}:{}\"", base64(PASSWORD), base64(CODE)));
    asked.up();
    stage.wait("keys are renewed twice", |stage| stage.nodes[0].status().counters.renewed >= 2);
    asked.assert_undisturbed();
    drop(asked);

    stage.crowd.lock().unwrap().ask = true;
    let asked = stage.client_of(stock, "bob", &format!("{queries}setenv IV_SSO crtext\npush-peer-info"));
    let mut person = asked.management();
    person.wait(">PASSWORD:Need 'Auth' username/password");
    person.say("username \"Auth\" bob");
    person.say(&format!("password \"Auth\" \"{PASSWORD}\""));
    assert!(person.wait(">INFOMSG:CR_TEXT:").ends_with(":Code?"));
    std::thread::sleep(Duration::from_secs(1));
    person.say(&format!("cr-response {}", base64(CODE)));
    asked.up();
    let renewed = stage.nodes[0].status().counters.renewed;
    stage.wait("keys are renewed twice", |stage| stage.nodes[0].status().counters.renewed >= renewed + 2);
    stage.ping("10.8.0.1", "");
    asked.assert_undisturbed();
    let logins = stage.crowd.lock().unwrap().logins.clone();
    let first = |user: &str| logins.iter().find(|login| login.0 == user).map(|login| login.1);
    assert_eq!((first("alice"), first("bob")), (Some("password and code"), Some("password")));
    assert!(logins.iter().filter(|login| login.1 == "token").count() >= 4, "{logins:?}");
}

#[test]
fn a_person_is_asked_for_a_code_once() {
    if can() {
        is_asked_for_a_code(Stock::Own);
    }
}

#[test]
#[ignore = "every version: `make test-vpn`"]
fn with_every_client_a_person_is_asked_for_a_code_once() {
    if can() {
        Stock::all_here().for_each(is_asked_for_a_code);
    }
}

/// By TCP: a download, and a renewal of keys.
#[test]
#[ignore = "every version: `make test-vpn`"]
fn every_client_works_by_tcp() {
    if !can() {
        return;
    }
    for stock in Stock::all_here() {
        let stage = Stage::new(1, &plan());
        let client = stage.client_of(stock, "alice", "remote 192.0.2.1 443 tcp4-client\nreneg-sec 3");
        client.up();
        stage.download(5_000_000);
        stage.wait("a key is renewed", |stage| stage.nodes[0].status().counters.renewed >= 1);
        stage.ping("10.8.0.1", "-s 1400");
        client.assert_undisturbed();
    }
}

/// The way outside is narrower than the tunnel's packets, and the tunnel narrower than usual: everything passes, whole.
#[test]
fn a_narrow_way_is_passed() {
    if !can() {
        return;
    }
    let mut narrow = plan();
    narrow.mtu = 1400;
    let stage = Stage::new(1, &narrow);
    stage.client.sh("ip link set p0 mtu 1280; ip link set wan mtu 1280");
    stage.nodes[0].place.sh("ip link set wan mtu 1280");
    for (stock, user) in Stock::all_here().zip(["alice", "bob", "carol"]) {
        let client = stage.client_of(stock, user, "");
        client.up();
        // 2.5 cannot be told, and sends larger ones.
        let mtu = if stock == Stock::V25 { "mtu 1500" } else { "mtu 1400" };
        stage.client.sh(&format!("ip link show tun0 | grep -q \"{mtu}\""));
        stage.ping("10.8.0.1", "-s 1372");
        stage.ping("10.20.0.9", "-s 1372");
        stage.download(3_000_000);
        client.assert_undisturbed();
    }
}

/// The client's address changes under it, for each version.
#[test]
#[ignore = "every version: `make test-vpn`"]
fn every_client_may_move() {
    if !can() {
        return;
    }
    for stock in Stock::all_here() {
        let stage = Stage::new(1, &plan());
        let client = stage.client_of(stock, "alice", "");
        client.up();
        let before = stage.nodes[0].session();
        stage
            .client
            .sh("ip addr del 192.0.2.2/24 dev wan; ip addr add 192.0.2.3/24 dev wan 2>/dev/null || true");
        stage.client.sh("ping -n -q -i 0.1 -c 20 -W 2 10.8.0.1 || true");
        stage.ping("10.8.0.1", "");
        let after = stage.nodes[0].session();
        assert_eq!((after.id, after.from.ip().to_string().as_str()), (before.id, "192.0.2.3"));
        client.assert_undisturbed();
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let word = bytes.iter().chain(&[0; 2]).take(3).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let digit = |place: usize| match place <= bytes.len() {
            true => DIGITS[(word >> (18 - 6 * place) & 63) as usize] as char,
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    text.as_bytes().chunks(3).map(group).collect()
}

/// RFC 4648 §10.
#[test]
fn base64_is_as_the_rfc_has_it() {
    for (text, expected) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(text), expected);
    }
}
