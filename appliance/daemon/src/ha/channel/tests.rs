use std::fs;
use std::path::PathBuf;

use rempart_pair::keys::PairSecret;
use zeroize::Zeroizing;

use super::*;
use crate::keystore::Keystore;
use crate::keystore::tests::scratch;

/// A node of a pair on loopback. Each test has addresses of its own, since the port is always the same.
struct Node {
    channel: Channel,
    store: Keystore,
    ways: watch::Sender<Vec<Way>>,
    folder: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn way(name: &str, local: &str, remote: &str) -> Way {
    let address = |text: &str| text.parse().expect("an address");
    Way { interface: name.into(), local: address(local), remote: address(remote), up: true }
}

/// Answers `echo` with the topic and the body, `slow` late, and anything else never.
fn node(name: &str, ways: Vec<Way>) -> Node {
    let folder = scratch(name);
    let store = Keystore::open(&folder).expect("opens");
    let (ways, seen) = watch::channel(ways);
    let (inbound, mut requests) = mpsc::channel::<Inbound>(4);
    let own = name.to_owned();
    tokio::spawn(async move {
        while let Some(Inbound { topic, body, reply }) = requests.recv().await {
            match topic.as_str() {
                "echo" => drop(reply.send([own.as_bytes(), b" ", &body].concat())),
                "slow" => drop(tokio::spawn(async move {
                    sleep(Duration::from_millis(300)).await;
                    let _ = reply.send(body);
                })),
                _ => drop(reply),
            }
        }
    });
    let channel =
        Channel::start(store.identity().clone(), store.subscribe(), seen, inbound, mpsc::channel(1).0);
    Node { channel, store, ways, folder }
}

fn introduce(node: &Node, index: NodeIndex, peer: &[u8]) {
    let secret = PairSecret::new(Zeroizing::new([1; 32]));
    node.store
        .pair(PairKeys { secret, index, peer: "peer".into(), peer_key: peer.to_vec() })
        .expect("is kept");
}

fn pair(a: &Node, b: &Node) {
    introduce(a, NodeIndex::First, &b.store.identity().public);
    introduce(b, NodeIndex::Second, &a.store.identity().public);
}

async fn linked(node: &Node, by: Option<&str>) {
    let mut link = node.channel.link();
    let wanted = link.wait_for(|l| l.by.as_deref() == by);
    let seen = timeout(Duration::from_secs(10), wanted).await;
    assert!(seen.is_ok(), "never {by:?}, but {:?}", node.channel.link().borrow());
}

const LIMIT: Duration = Duration::from_secs(5);

/// Two paired nodes ask each other both ways, bodies of many megabytes too; unpaired again, nothing listens.
#[tokio::test]
async fn a_pair_talks_both_ways() {
    let a = node("talk-a", vec![way("sync", "127.71.0.1", "127.71.0.2")]);
    let b = node("talk-b", vec![way("sync", "127.71.0.2", "127.71.0.1")]);
    assert!(matches!(a.channel.request("echo", b"", LIMIT).await, Err(ChannelError::Away)));
    pair(&a, &b);
    linked(&a, Some("sync")).await;
    linked(&b, Some("sync")).await;
    assert_eq!(a.channel.request("echo", b"hello", LIMIT).await.expect("answers"), b"talk-b hello");
    assert_eq!(b.channel.request("echo", b"there", LIMIT).await.expect("answers"), b"talk-a there");
    let large = vec![7; 16 << 20];
    let answer = b.channel.request("echo", &large, Duration::from_secs(60)).await.expect("answers");
    assert_eq!(answer.len(), large.len() + "talk-a ".len());
    assert!(matches!(a.channel.request("nothing", b"", LIMIT).await, Err(ChannelError::Unanswered)));
    let short = Duration::from_millis(50);
    assert!(matches!(a.channel.request("slow", b"", short).await, Err(ChannelError::Late(_))));
    let long = "x".repeat(MAX_TOPIC + 1);
    assert!(matches!(a.channel.request(&long, b"", LIMIT).await, Err(ChannelError::Refused(_))));

    b.store.unpair().expect("is forgotten");
    linked(&a, None).await;
    assert!(matches!(a.channel.request("echo", b"", LIMIT).await, Err(ChannelError::Away)));
    // The socket goes once the other side has had time to hear of it.
    for attempt in 0.. {
        match UdpSocket::bind(("127.71.0.2", ports::CHANNEL)) {
            Ok(_) => break,
            Err(error) => assert!(attempt < 50, "somebody listens there still: {error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A way whose address this node does not have, before and after the one that works: the nodes meet all the same, again
/// after the one that dials has been unpaired, and once the other one is there late.
#[tokio::test]
async fn a_way_without_an_address_keeps_nobody_waiting() {
    let dead = |name: &str| way(name, "192.0.2.1", "192.0.2.2");
    let a = node("dead-a", vec![dead("wan"), way("sync", "127.77.0.1", "127.77.0.2"), dead("dmz")]);
    let b = node("dead-b", vec![dead("wan"), way("sync", "127.77.0.2", "127.77.0.1")]);
    introduce(&a, NodeIndex::First, &b.store.identity().public);
    sleep(HANDSHAKE + PAUSE.0).await;
    introduce(&b, NodeIndex::Second, &a.store.identity().public);
    linked(&a, Some("sync")).await;
    linked(&b, Some("sync")).await;
}

/// More requests at once than there are places: the surplus is refused at once, the others are answered.
#[tokio::test]
async fn requests_are_bounded() {
    let a = node("bound-a", vec![way("sync", "127.72.0.1", "127.72.0.2")]);
    let b = node("bound-b", vec![way("sync", "127.72.0.2", "127.72.0.1")]);
    pair(&a, &b);
    linked(&a, Some("sync")).await;
    let mut all = JoinSet::new();
    for _ in 0..10 {
        let channel = a.channel.clone();
        all.spawn(async move { channel.request("slow", b"x", LIMIT).await.is_ok() });
    }
    let answered = all.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(answered, MAX_REQUESTS);
}

/// The way in use goes down: the next one is taken. It comes back: it is used again.
#[tokio::test]
async fn the_channel_changes_its_way() {
    let ways = |from: u8, to: u8, sync: bool| {
        let one = |name, net| way(name, &format!("127.{net}.0.{from}"), &format!("127.{net}.0.{to}"));
        vec![Way { up: sync, ..one("sync", 73) }, one("lan", 74)]
    };
    let (a, b) = (node("way-a", ways(1, 2, true)), node("way-b", ways(2, 1, true)));
    pair(&a, &b);
    linked(&b, Some("sync")).await;
    for (sync, by) in [(false, "lan"), (true, "sync"), (false, "lan")] {
        a.ways.send_replace(ways(1, 2, sync));
        b.ways.send_replace(ways(2, 1, sync));
        linked(&a, Some(by)).await;
        linked(&b, Some(by)).await;
        assert_eq!(a.channel.request("echo", b"1", LIMIT).await.expect("answers"), b"way-b 1");
        assert_eq!(b.channel.request("echo", b"2", LIMIT).await.expect("answers"), b"way-a 2");
    }
}

/// A node with another key at the other node's address, and a node without keys: neither gets anything.
#[tokio::test]
async fn a_stranger_gets_nothing() {
    let a = node("strange-a", vec![way("sync", "127.75.0.1", "127.75.0.2")]);
    let b = node("strange-b", vec![way("sync", "127.75.0.2", "127.75.0.1")]);
    let friend = Keystore::open(&scratch("strange-friend")).expect("opens");
    let second = b.store.identity().public.clone();

    // The accepting side knows another key than the dialling one has.
    introduce(&a, NodeIndex::First, &second);
    introduce(&b, NodeIndex::Second, &friend.identity().public);
    sleep(Duration::from_millis(800)).await;
    assert_eq!((a.channel.link().borrow().by.clone(), b.channel.link().borrow().by.clone()), (None, None));
    assert!(matches!(a.channel.request("echo", b"", LIMIT).await, Err(ChannelError::Away)));

    // The dialling side knows another key than the accepting one has.
    introduce(&a, NodeIndex::First, &friend.identity().public);
    introduce(&b, NodeIndex::Second, &a.store.identity().public);
    sleep(Duration::from_millis(800)).await;
    assert_eq!((a.channel.link().borrow().by.clone(), b.channel.link().borrow().by.clone()), (None, None));

    // Both right: they connect, so it was the keys.
    introduce(&a, NodeIndex::First, &second);
    linked(&a, Some("sync")).await;
    linked(&b, Some("sync")).await;
    let _ = fs::remove_dir_all(scratch("strange-friend"));
}

/// A stranger that speaks QUIC without any key, or with another suite, ends in the handshake.
#[tokio::test]
async fn only_our_suite_and_keys_are_spoken() {
    let b = node("suite-b", vec![way("sync", "127.76.0.2", "127.76.0.1")]);
    let a = Keystore::open(&scratch("suite-a")).expect("opens");
    introduce(&b, NodeIndex::Second, &a.identity().public);
    sleep(Duration::from_millis(200)).await;
    let remote: SocketAddr = ("127.76.0.2".parse::<IpAddr>().expect("an address"), ports::CHANNEL).into();
    let socket = || UdpSocket::bind("127.76.0.1:0").expect("binds");
    let endpoint = || {
        Endpoint::new(EndpointConfig::default(), None, socket(), Arc::new(TokioRuntime)).expect("endpoint")
    };
    let public = &b.store.identity().public;

    let (right, _) = pins::configurations(a.identity(), public, IDLE, KEEP_ALIVE).expect("configurations");
    let connection =
        endpoint().connect_with(right, remote, pins::NAME).expect("begins").await.expect("connects");
    let data = connection.handshake_data().expect("is done");
    let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().expect("of rustls");
    assert_eq!(data.protocol.as_deref(), Some(&b"rempart/1"[..]));

    for suite in [
        rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let client = pins::test_client(a.identity(), public, suite, true);
        assert!(endpoint().connect_with(client, remote, pins::NAME).expect("begins").await.is_err());
    }
    let keyless = pins::test_client(
        a.identity(),
        public,
        rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        false,
    );
    // In TLS 1.3 the client is done before the server has judged it: it must then be thrown out.
    match endpoint().connect_with(keyless, remote, pins::NAME).expect("begins").await {
        Err(_) => {}
        Ok(connection) => drop(timeout(LIMIT, connection.closed()).await.expect("is thrown out")),
    }
}
