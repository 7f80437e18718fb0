//! Logged packets, and TUN devices.

mod common;

use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use common::{in_namespace, sh};
use rempart_config::model::Device;
use rempart_config::space::Family;
use rempart_plan::net::{Address, Step};
use rempart_system::links::Links;
use rempart_system::nflog::{Nflog, NflogError, SNAP_LENGTH};
use rempart_system::tun::Tun;

const RULES: &str = "table inet t {\n chain c {\n type filter hook output priority 0\n udp dport 9 log prefix \"drop: flow 3\" group 5 drop\n }\n}\n";

/// A packet that a rule logs in; prefix, device, time and its first bytes out.
#[test]
fn a_logged_packet_is_told() {
    in_namespace(|| async {
        sh(&format!("printf '%s' '{RULES}' | nft -f -"));
        let mut log = Nflog::bind(5).await.expect("bound");
        assert!(matches!(Nflog::bind(5).await, Err(NflogError::Taken(5))));
        let socket = UdpSocket::bind("[::]:0").expect("a socket");
        let _refused = socket.send_to(&[7; 500], "127.0.0.1:9");
        let _refused = socket.send_to(&[8; 20], "[::1]:9");
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let packet = tokio::time::timeout(Duration::from_secs(5), log.next())
                .await
                .expect("in time")
                .expect("a packet");
            seen.push(packet);
        }
        assert_eq!(seen[0].prefix, "drop: flow 3");
        assert_eq!((seen[0].family, seen[1].family), (Some(Family::V4), Some(Family::V6)));
        assert_eq!(seen[0].output, Some(Device::new("lo")));
        assert_eq!(seen[0].input, None);
        assert_eq!(seen[0].packet.len(), SNAP_LENGTH as usize);
        assert_eq!(seen[0].packet[0], 0x45);
        assert_eq!(seen[1].packet.len(), 40 + 8 + 20);
        let age = SystemTime::now().duration_since(seen[0].time).expect("the past");
        assert!(age < Duration::from_secs(5));
        assert_eq!(log.lost(), 0);
        drop(log);
        // The reader's task, and with it the socket, goes when the runtime next turns.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Nflog::bind(5).await.expect("free again");
    });
}

/// More packets than anybody reads in; what is told and what is counted as lost are together all of them.
#[test]
fn lost_packets_are_counted() {
    in_namespace(|| async {
        sh(&format!("printf '%s' '{RULES}' | nft -f -"));
        let mut log = Nflog::bind(5).await.expect("bound");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        const SENT: u64 = 100_000;
        for _ in 0..SENT {
            let _refused = socket.send_to(&[7; 100], "127.0.0.1:9");
        }
        let mut told = 0;
        let last = async {
            loop {
                while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), log.next()).await {
                    told += 1;
                }
                // What was lost after the last one is told by the next.
                let _refused = socket.send_to(&[9; 100], "127.0.0.1:9");
                if let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), log.next()).await {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), last).await.expect("in time");
        println!("told {told}, lost {}", log.lost());
        assert_eq!(told + log.lost(), SENT);
    });
}

/// An echo request written into the device in; the kernel's answer out.
#[test]
fn a_ping_through_a_tun_device() {
    in_namespace(|| async {
        let device = Device::new("tun7");
        let tun = Tun::create(&device).expect("a device");
        let links = Links::new().expect("links");
        let net = "10.9.0.1/24".parse().expect("a network");
        for step in [
            Step::AddAddress(Address { device: device.clone(), net, shared: false }),
            Step::SetUp { device: device.clone(), up: true },
        ] {
            links.apply(&step).await.expect("done");
        }
        // IPv4 from 10.9.0.2 to 10.9.0.1, ICMP echo request 1/1, checksums worked out by hand.
        let mut request =
            vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1, 8, 0, 0, 0, 0, 1, 0, 1];
        for (range, at) in [(0..20, 10), (20..28, 22)] {
            let sum: u32 =
                request[range].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            request[at..at + 2].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        }
        tun.send(&request).await.expect("sent");
        let mut buffer = [0; 1500];
        let answer = async {
            loop {
                let len = tun.receive(&mut buffer).await.expect("received");
                // Router solicitations and the like come out, too.
                if len == 28 && buffer[0] == 0x45 {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), answer).await.expect("in time");
        assert_eq!(buffer[20], 0, "an echo reply");
        assert_eq!(&buffer[12..20], &[10, 9, 0, 1, 10, 9, 0, 2]);
        assert!(Tun::create(&Device::new("a-name-of-16-byt")).is_err());
        drop(tun);
        assert!(!sh("ip -br link").contains("tun7"), "it goes with its owner");
    });
}
