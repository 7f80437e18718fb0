//! Against a real FreeRADIUS, in a network namespace of this test: right, wrong, challenge, groups, a server that is dead, a
//! secret that is wrong, an answer without Message-Authenticator.

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::freeradius::{PASSWORD, SECRET, serve};
use common::{can_run, in_a_namespace};
use rempart_identity::demand::RadiusAnswer;
use rempart_identity::radius::{Question, Radius, RadiusConfig, RadiusServer};
use rempart_identity::secret::Secret;

fn radius(servers: &[(SocketAddr, &str)]) -> Radius {
    let server = |(address, secret): &(SocketAddr, &str)| RadiusServer {
        address: *address,
        secret: Secret::from(*secret),
    };
    Radius::new(RadiusConfig {
        servers: servers.iter().map(server).collect(),
        identifier: "rempart".to_owned(),
        groups: [("vpn-agents", "agents"), ("vpn-admins", "admins")]
            .map(|(mark, group)| (mark.to_owned(), group.parse().unwrap()))
            .into(),
        source: None,
        patience: Duration::from_millis(700),
    })
    .unwrap()
}

fn ask(radius: &Radius, name: &str, password: &str, state: Option<&[u8]>) -> RadiusAnswer {
    let client = Some(Ipv4Addr::new(198, 51, 100, 7).into());
    radius.ask(&Question { name, password: &Secret::from(password), state, client })
}

#[test]
fn a_real_radius_server() {
    if can_run("RADIUS", &["/usr/sbin/freeradius"]) {
        in_a_namespace(run);
    }
}

fn run() {
    let directory = tempfile::tempdir().unwrap();
    let _server = serve(directory.path());
    let alive = SocketAddr::from(([127, 0, 0, 1], 1812));
    let good = radius(&[(alive, SECRET)]);

    let both = ["agents".parse().unwrap(), "admins".parse().unwrap()].into();
    assert_eq!(ask(&good, "alice", PASSWORD, None), RadiusAnswer::Accept(both));
    let no = RadiusAnswer::Reject("RADIUS says: not you".to_owned());
    assert_eq!(ask(&good, "alice", "wrong", None), no);
    assert_eq!(ask(&good, "nobody", PASSWORD, None), no);
    let asked = ask(&good, "carol", "first factor", None);
    assert_eq!(asked, RadiusAnswer::Challenge { text: "Code?".to_owned(), state: vec![1, 2, 3] });
    assert_eq!(ask(&good, "carol", "424242", Some(&[1, 2, 3])), RadiusAnswer::Accept([].into()));
    assert_eq!(ask(&good, "carol", "000000", Some(&[1, 2, 3])), no);

    // Nobody on the first: refused by the kernel at once, and the next is asked.
    let dead = SocketAddr::from(([127, 0, 0, 9], 1812));
    let start = Instant::now();
    let two = radius(&[(dead, SECRET), (alive, SECRET)]);
    assert!(matches!(ask(&two, "alice", PASSWORD, None), RadiusAnswer::Accept(_)));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // One that is silent, and one whose secret is another: no answer counts.
    let silent = UdpSocket::bind("127.0.0.8:1812").unwrap();
    let start = Instant::now();
    let two = radius(&[(silent.local_addr().unwrap(), SECRET), (alive, SECRET)]);
    assert!(matches!(ask(&two, "alice", PASSWORD, None), RadiusAnswer::Accept(_)));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(matches!(ask(&two, "alice", PASSWORD, None), RadiusAnswer::Accept(_)));
    assert!(start.elapsed() < Duration::from_secs(6), "the one that answered last is asked first");
    let old = ask(&good, "old", PASSWORD, None);
    let lacks = |why: &String| why.contains("no right Message-Authenticator");
    assert!(matches!(&old, RadiusAnswer::Unavailable(why) if lacks(why)), "{old:?}");
    let wrong = radius(&[(alive, "another secret of the lab")]);
    let answer = ask(&wrong, "alice", PASSWORD, None);
    assert!(matches!(&answer, RadiusAnswer::Unavailable(_)), "{answer:?}");
}
