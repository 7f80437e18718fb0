//! Large policies: the size that is promised, and the shapes that would hurt a naive analysis.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rempart_config::read;

/// A document with `zones` zones and their networks 10.N.0.0/16.
fn world(zones: usize) -> String {
    let mut text = String::from("version = 1\nnode = 'fw'\n");
    for n in 0..zones {
        write!(text, "[interface.i{n}]\ndevice = 'e{n}'\nzone = 'z{n}'\naddress = '10.{n}.0.1/16'\n")
            .expect("to a string");
    }
    text
}

/// Far more than any of these takes: an analysis that has become quadratic does not end by then.
const HANG: Duration = Duration::from_secs(60);

/// Reads a large document. How fast that is belongs to `make bench`; here it must only come to an end.
fn read_within(name: &str, text: &str) -> rempart_config::Reading {
    let start = Instant::now();
    let reading = read(text);
    assert!(start.elapsed() < HANG, "{name} took {:?}", start.elapsed());
    reading
}

/// Numbers that look random and are the same each time.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn ten_thousand_flows_between_single_hosts() {
    // 10,000 flows of single hosts over 30 zone pairs: all must be valid, and the doubles among them be told.
    let mut text = world(6);
    let mut state = 1;
    for n in 0..10_000 {
        let (from, step) = (random(&mut state) % 6, 1 + random(&mut state) % 5);
        let (to, a, b) = ((from + step) % 6, random(&mut state) % 200, random(&mut state) % 200);
        let port = 1 + random(&mut state) % 1000;
        write!(
            text,
            "[[flow]]\nfrom = 'z{from}:10.{from}.{a}.7'\nto = 'z{to}:10.{to}.{b}.9'\nallow = ['tcp/{port}']\nwhy = 'flow number {n}'\n"
        )
        .expect("to a string");
    }
    let reading = read_within("single hosts", &text);
    assert_eq!(reading.model.expect("valid").flows.len(), 10_000);
}

#[test]
fn a_last_flow_under_ten_thousand() {
    // 10,000 flows that each take one port of one host, then one that is covered by all of them together.
    let mut text = world(2);
    for port in 0..10_000 {
        write!(text, "[[flow]]\nfrom = 'z0'\nto = 'z1:10.1.0.9'\nallow = ['tcp/{port}']\n")
            .expect("to a string");
    }
    text += "[[flow]]\nfrom = 'z0'\nto = 'z1:10.1.0.9'\nallow = ['tcp/0-9999']\n";
    let reading = read_within("one host, many ports", &text);
    let codes: Vec<_> = reading.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["redundant-flow"]);
}

#[test]
fn fragments_are_bounded() {
    // Overlapping ranges on every axis, which fall into very many pieces: an answer, decided or not, in time.
    let mut text = world(3);
    let mut state = 7;
    for _ in 0..3_000 {
        let mut range = |most: usize| {
            let (a, b) = (random(&mut state) % most, random(&mut state) % most);
            (a.min(b), a.max(b))
        };
        let ((a, b), (c, d), (p, q)) = (range(250), range(250), range(60_000));
        write!(
            text,
            "[[flow]]\nfrom = 'z0:10.0.{a}.0-10.0.{b}.255'\nto = 'any:10.1.{c}.0-10.1.{d}.255'\ndeny = ['tcp/{p}-{q}']\n"
        )
        .expect("to a string");
    }
    read_within("fragments", &text);
}

#[test]
fn large_hosts_do_not_multiply() {
    // Hosts of a thousand networks on both sides of many flows: too much to analyse, not too much to read.
    let nets = |zone: usize| {
        (0..1_000).map(|n| format!("'10.{zone}.{}.{}'", n / 100, 2 * (n % 100) + 1)).collect::<Vec<_>>()
    };
    let mut text = world(2);
    write!(text, "[host]\na = [{}]\nb = [{}]\n", nets(0).join(","), nets(1).join(",")).expect("to a string");
    for port in 0..500 {
        write!(text, "[[flow]]\nfrom = 'z0:a'\nto = 'z1:b'\nallow = ['tcp/{port}']\n").expect("to a string");
    }
    let reading = read_within("large hosts", &text);
    assert!(reading.model.is_some());
    assert!(reading.diagnostics.iter().all(|d| d.code == "undecided-flow"));
}
