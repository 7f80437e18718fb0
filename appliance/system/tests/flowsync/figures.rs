//! What it costs. Figures, no limits: `cargo test --release -p rempart-system --test flowsync -- --ignored --nocapture
//! figures`.

use std::time::{Duration, Instant};

use rempart_system::conntrack::Status;
use rempart_system::flowsync::{
    Dump, Event, Events, Expect, Flow, HashKey, Progress, Read, Record, Table, TimeoutRule, fingerprint,
};

use crate::common::{in_namespace, sh};
use crate::samples::*;

const ENTRIES: u32 = 260_000;

/// Established TCP connections through source NAT, as in the study.
fn nth(n: u32) -> Flow {
    let port = (n % 50_000) as u16 + 10_000;
    let host = (n / 50_000) as u8;
    let mut flow = tcp(port);
    flow.original.source = std::net::Ipv4Addr::new(10, 0, 0, host + 1).into();
    flow.reply.destination = v4(100 + host);
    flow.status = Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED);
    flow
}

/// Time on a processor, which other work on the machine hardly changes, and time on the clock.
struct Watch {
    clock: Instant,
    processor: Duration,
    ticks: [u32; 2],
}

impl Watch {
    fn start() -> Self {
        Self { clock: Instant::now(), processor: Self::processor(), ticks: Self::ticks() }
    }

    fn processor() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
        Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
    }

    /// Hundredths of a second in the program and in the kernel.
    fn ticks() -> [u32; 2] {
        let text = std::fs::read_to_string("/proc/thread-self/stat").expect("stat");
        let after_name = text.rsplit(") ").next().expect("fields");
        let mut fields = after_name.split(' ').skip(11).map(|n| n.parse().expect("a number"));
        [fields.next().expect("utime"), fields.next().expect("stime")]
    }

    fn say(self, label: &str, count: usize) {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
        let processor = Self::processor() - self.processor;
        let clock = each(self.clock.elapsed());
        let [user, system] = Self::ticks();
        let (user, system) = (f64::from(user - self.ticks[0]), f64::from(system - self.ticks[1]));
        let percent = 100.0 * user / (user + system).max(1.0);
        println!(
            "{label:<42} {:>7.3} us CPU ({percent:>2.0} % ours), {clock:>7.3} us clock",
            each(processor)
        );
    }
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    in_namespace(|| async {
        track(false);
        sh("echo 2000000 > /proc/sys/net/netfilter/nf_conntrack_max || true");
        println!("buckets {}", sh("cat /proc/sys/net/netfilter/nf_conntrack_buckets").trim());
        let records: Vec<Record> = (0..ENTRIES).map(|n| Record::Flow(nth(n))).collect();
        let mut writer = writer();
        let write = |writer: &mut rempart_system::flowsync::Writer, expect| {
            for record in &records {
                writer.put(record, TimeoutRule::AtLeast(3600), expect).expect("queued");
            }
            writer.flush().expect("flushed");
        };
        let watch = Watch::start();
        write(&mut writer, Expect::New);
        watch.say("create, with NAT, nobody listens", records.len());
        println!("{:?} {:?}", writer.tally(), writer.take_refusals().first());

        let hash = HashKey([1; 16]);
        let watch = Watch::start();
        let mut seen = 0;
        walk(&mut |_| seen += 1);
        watch.say("dump, decode", seen);
        let (mut bytes, mut total) = (Vec::new(), 0);
        let watch = Watch::start();
        walk(&mut |record| {
            bytes.clear();
            record.encode(&mut bytes);
            total += bytes.len();
            std::hint::black_box((fingerprint(&bytes, &hash), record.key(&hash)));
        });
        watch.say("dump, decode, encode, key, fingerprint", seen);
        println!("{} bytes each on the wire", total / seen);

        let watch = Watch::start();
        write(&mut writer, Expect::Known);
        watch.say("update", records.len());
        let watch = Watch::start();
        for record in &records {
            writer.set_timeout(&record.identity(), 7200).expect("queued");
        }
        writer.flush().expect("flushed");
        watch.say("set timeout", records.len());
        let watch = Watch::start();
        for record in &records {
            writer.remove(&record.identity()).expect("queued");
        }
        writer.flush().expect("flushed");
        watch.say("remove", records.len());
        println!("{:?}", writer.tally());

        let mut events = Events::open(1 << 30).expect("events");
        let watch = Watch::start();
        write(&mut writer, Expect::New);
        watch.say("create, one listens", records.len());
        let mut heard = 0;
        let watch = Watch::start();
        loop {
            let read = events.read_batch(&mut |event| {
                if let Event::Put(record, _) = event {
                    bytes.clear();
                    record.encode(&mut bytes);
                    std::hint::black_box(record.key(&hash));
                    heard += 1;
                }
            });
            if read.expect("read") == Read::Drained {
                break;
            }
        }
        watch.say("read an event, encode, key", heard);
        println!("{:?}", events.counts());
        sh("conntrack -F");
    });
}

fn walk(visit: &mut dyn FnMut(&Record)) {
    let mut dump = Dump::start(Table::Flows).expect("a dump");
    while dump.step(256, visit).expect("a step") != Progress::Done {}
}
