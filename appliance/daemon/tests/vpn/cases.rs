//! One gateway.

use rempart_daemon::vpn::seam::{CutOff, FromPeople, Server, Whom};

use crate::stage::{Stage, can, plan};

/// By UDP over both families outside: ping over both inside and a download, and everything is gone when the client leaves.
#[test]
fn a_client_connects_works_and_leaves() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    for remote in ["remote 192.0.2.1 1194 udp4", "remote 2001:db8::1 1194 udp6"] {
        let mut client = stage.client("alice", remote);
        client.up();
        let session = stage.nodes[0].session();
        assert_eq!((session.user.as_str(), session.group.as_str(), session.tcp), ("alice", "agents", false));
        assert!(session.client.contains("2.6"), "{session:?}");
        stage.ping("10.8.0.1", "");
        stage.ping("10.8.0.1", "-s 1472");
        stage.ping("fd00:8::1", "");
        stage.ping("10.20.0.9", "");
        stage.download(20_000_000);
        let inner = session.addresses[0].to_string();
        stage.wait("the set holds the client", |stage| stage.nodes[0].live("vpn_live4").contains(&inner));
        assert!(stage.nodes[0].live("vpn_live6").contains("fd00:8:"));
        assert_eq!(stage.pair.held(), 1);
        client.assert_undisturbed();
        client.signal("-INT");
        stage.wait("the session is over", |stage| stage.nodes[0].status().sessions.is_empty());
        stage.wait("the set is empty", |stage| !stage.nodes[0].live("vpn_live4").contains(&inner));
        assert_eq!(stage.pair.held(), 0);
        stage.wait("the client has ended", |_| client.has_ended());
    }
}

/// TLS 1.2 at most and TLS 1.3 at least; a plan without TLS 1.2 lets the first one out.
#[test]
fn both_versions_of_tls_are_served_and_one_can_be_refused() {
    if !can() {
        return;
    }
    let mut stage = Stage::new(1, &plan());
    for (extra, version) in [("tls-version-max 1.2", "TLSv1.2"), ("tls-version-min 1.3", "TLSv1.3")] {
        let client = stage.client("alice", extra);
        client.up();
        assert!(client.log().contains(&format!("Control Channel: {version}")), "{}", client.log());
        stage.ping("10.8.0.1", "");
        drop(client);
    }
    let mut strict = plan();
    strict.tls12 = false;
    stage.nodes[0].handle.configure(Some(Box::new(strict)));
    let client = stage.client("bob", "tls-version-max 1.2");
    client.wait("TLS handshake failed");
    assert!(!client.log().contains("Initialization Sequence Completed"));
    stage.nodes[0].stop();
}

/// A client that only knows AES-128 is told why it is not served.
#[test]
fn aes_128_only_is_refused_with_a_reason() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let client = stage.client("alice", "data-ciphers AES-128-GCM");
    client.wait("This server only speaks AES-256-GCM");
    stage.wait("it is counted", |stage| stage.nodes[0].status().counters.refused == 1);
    assert_eq!(stage.pair.held(), 0);
}

/// Wrong people are refused; a revoked one is out at once, its packets too.
#[test]
fn who_may_not_stays_out_and_who_may_not_any_more_is_out_at_once() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    stage.crowd.lock().unwrap().barred.insert("mallory".to_owned());
    let stranger = stage.client("mallory", "");
    stranger.wait("AUTH_FAILED");
    drop(stranger);
    let mut client = stage.client("alice", "");
    client.up();
    stage.ping("10.8.0.1", "");
    stage.crowd.lock().unwrap().barred.insert("alice".to_owned());
    let cut = CutOff::User("alice".parse().unwrap());
    stage.nodes[0].handle.people()(FromPeople::Cut(cut));
    client.wait("AUTH_FAILED");
    assert!(stage.nodes[0].status().sessions.is_empty());
    stage.wait("the set is empty", |stage| !stage.nodes[0].live("vpn_live4").contains("elements"));
    stage.wait("the client has ended", |_| client.has_ended());
    assert_eq!(stage.pair.held(), 0);
}

/// An administrator ends a session; the same device comes back to the same address.
#[test]
fn an_administrator_disconnects_and_the_address_stays_the_devices() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let device = stage.authority.device("alice");
    let client = stage.client_with("alice", &device, "");
    client.up();
    let first = stage.nodes[0].session();
    let other = stage.client("bob", "dev tun7\nroute-nopull");
    other.up();
    let count = stage.nodes[0].handle.disconnect(Whom::Session(first.id)).blocking_recv().unwrap();
    assert_eq!(count, 1);
    client.wait("Halt command was pushed by server");
    drop(client);
    let client = stage.client_with("alice", &device, "");
    client.up();
    let sessions = stage.nodes[0].status().sessions;
    let again = sessions.iter().find(|session| session.user == "alice").unwrap();
    assert_eq!(again.addresses, first.addresses);
    assert_ne!(again.id, first.id);
}

/// New keys every few seconds under traffic, with a token: no person is asked, no packet is lost.
#[test]
fn keys_are_renewed_under_traffic() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let client = stage.client("alice", "reneg-sec 4");
    client.up();
    let said = stage.client.sh("ping -n -q -i 0.02 -c 800 -W 2 10.8.0.1");
    assert!(said.contains(" 0% packet loss"), "{said}");
    let status = stage.nodes[0].status();
    assert!(status.counters.renewed >= 3, "{status:?}");
    let logins = stage.crowd.lock().unwrap().logins.clone();
    assert_eq!(logins[0].1, "password");
    assert!(logins[1..].iter().all(|login| login.1 == "token"), "{logins:?}");
    client.assert_undisturbed();
}

/// A code is asked for while the client connects.
#[test]
fn a_code_is_asked_for() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    stage.crowd.lock().unwrap().ask = true;
    // Without a management interface the stock client cannot be asked: it is refused with what it can show.
    let client = stage.client("alice", "");
    client.wait("AUTH_FAILED");
    stage.wait("it is counted", |stage| stage.nodes[0].status().counters.refused == 1);
}

/// The client's address changes in the middle of a ping: the session follows.
#[test]
fn a_client_that_moves_keeps_its_session() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let client = stage.client("alice", "");
    client.up();
    stage.ping("10.8.0.1", "");
    let before = stage.nodes[0].session();
    // The socket is not bound to an address: the kernel chooses another source when this one is gone.
    stage.client.sh("ip addr del 192.0.2.2/24 dev wan; ip addr add 192.0.2.3/24 dev wan 2>/dev/null || true");
    stage.client.sh("ping -n -q -i 0.1 -c 20 -W 2 10.8.0.1 || true");
    stage.ping("10.8.0.1", "");
    let after = stage.nodes[0].session();
    assert_eq!((after.id, &after.addresses), (before.id, &before.addresses));
    assert_eq!(after.from.ip().to_string(), "192.0.2.3");
    assert_eq!(stage.nodes[0].status().counters.moved, 1);
    client.assert_undisturbed();
}

/// The group's limit of a session: the client is sent back to the person.
#[test]
fn a_session_ends_with_its_limit() {
    if !can() {
        return;
    }
    let mut plan = plan();
    plan.groups[0].session_limit_s = Some(4);
    let stage = Stage::new(1, &plan);
    let client = stage.client("alice", "");
    client.up();
    client.wait("AUTH_FAILED");
    stage.wait("it is over", |stage| stage.nodes[0].status().counters.ended >= 1);
}

/// A plan with other addresses and without the group: only then does the session end.
#[test]
fn a_new_plan_touches_only_what_it_changes() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let client = stage.client("alice", "");
    client.up();
    let mut other = plan();
    other.udp.insert(0, "192.0.2.77:1194".parse().unwrap());
    other.mtu = 1400;
    other.groups[0].dns.clear();
    stage.nodes[0].handle.configure(Some(Box::new(other.clone())));
    stage.ping("10.8.0.1", "");
    assert_eq!(stage.nodes[0].status().sessions.len(), 1);
    assert!(stage.nodes[0].place.sh("ip link show vpn0").contains("mtu 1400"));
    other.groups[0].name = "others".to_owned();
    stage.nodes[0].handle.configure(Some(Box::new(other)));
    assert!(stage.nodes[0].status().sessions.is_empty());
    client.wait("server has other settings");
}

/// A client that died and starts again from the same port: the same session for the data path, the same address, no wait.
#[test]
fn a_client_that_starts_over_in_place_keeps_its_place() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    let device = stage.authority.device("alice");
    let client = stage.client_with("alice", &device, "lport 40000");
    client.up();
    stage.ping("10.8.0.1", "");
    let before = stage.nodes[0].session();
    // Killed: it says nothing.
    drop(client);
    let client = stage.client_with("alice", &device, "lport 40000");
    client.up();
    stage.ping("10.8.0.1", "");
    stage.download(1_000_000);
    let after = stage.nodes[0].session();
    assert_eq!((after.id, &after.addresses, after.from), (before.id, &before.addresses, before.from));
    assert_eq!(stage.pair.held(), 1);
    client.assert_undisturbed();
    // Somebody else from there: the one before is gone, with its address.
    drop(client);
    let other = stage.client("bob", "lport 40000");
    other.up();
    stage.ping("10.8.0.1", "");
    let session = stage.nodes[0].session();
    assert_eq!(session.user, "bob");
    assert_ne!(session.addresses, after.addresses);
}
