use super::Syntax;
use super::address::{Address, AddressInNet, HostElement, InterfaceAddress, Network};
use super::endpoint::{EndpointText, HostText};
use super::service::{Meaning, ServiceText};
use super::time::{Days, Hours, Lapse, SynLimit};
use super::word::{AbsolutePath, DeviceText, NameText, Prose, TimeZone, Via};
use crate::model::{Rate, RateUnit, ServiceAtom, SourceAddress};
use crate::space::{AddressSet, Set};

#[test]
fn every_example_of_the_schema_is_valid() {
    // The examples that the schema shows must be what the parser takes.
    fn all<T: Syntax>() {
        assert!(!T::EXAMPLES.is_empty());
        for text in T::EXAMPLES {
            if let Err(malformed) = T::parse(text) {
                panic!("`{text}` as {}: {malformed:?}", T::WANTED);
            }
        }
    }
    all::<Address>();
    all::<AddressInNet>();
    all::<Network>();
    all::<InterfaceAddress>();
    all::<HostElement>();
    all::<EndpointText>();
    all::<ServiceText>();
    all::<Days>();
    all::<Hours>();
    all::<Lapse>();
    all::<Rate>();
    all::<SynLimit>();
    all::<Prose>();
    all::<NameText>();
    all::<DeviceText>();
    all::<AbsolutePath>();
    all::<TimeZone>();
    all::<SourceAddress>();
    all::<Via>();
}

#[test]
fn an_endpoint_ends_its_zone_at_the_first_colon() {
    // Endpoints of every form go in; zone, negation and host come out.
    let parse = |text| EndpointText::parse(text).expect(text);
    let lan = parse("lan");
    assert!(lan.zone == "lan" && !lan.negated && matches!(lan.host, HostText::Any));
    let six = parse("dmz:!fd00:20::11");
    assert!(six.zone == "dmz" && six.negated);
    let HostText::Fixed(set) = six.host else { panic!("a literal") };
    assert_eq!(set, AddressSet::one("fd00:20::11".parse().expect("an address")));
    let range = parse("lan:192.168.10.9-192.168.10.11");
    let HostText::Fixed(set) = range.host else { panic!("a range") };
    assert_eq!(set.v4.intervals().len(), 1);
    assert!(matches!(parse("wan:partner").host, HostText::Name(name) if name == "partner"));
    for wrong in
        ["", "lan:", ":web", "lan:!", "lan:a b", "lan:!any", "lan:!!web", "lan:10.0.0.1/8", "fd00::1"]
    {
        assert!(EndpointText::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_service_means_the_same_however_it_is_written() {
    // Different notations of one service must become the same atom.
    let atom = |text| match Meaning::parse(text) {
        Ok(Meaning::Atom(atom)) => atom,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(atom("proto/6"), atom("tcp"));
    assert_eq!(atom("tcp/0-65535"), atom("tcp"));
    assert_eq!(atom("icmp/echo-request"), atom("icmp/8"));
    assert_eq!(atom("icmp6/128-128"), atom("icmp6/echo-request"));
    assert_eq!(atom("icmp/0-255"), ServiceAtom::Icmp(Set::all()));
    assert_eq!(atom("proto/58"), ServiceAtom::Icmp6(Set::all()));
    assert_eq!(atom("any"), ServiceAtom::Any);
    for wrong in
        ["tcp/", "tcp/80-", "tcp/+80", "tcp/ 80", "tcp/80,81", "any/1", "proto", "proto/256", "icmp/256", ""]
    {
        match Meaning::parse(wrong) {
            Err(_) => {}
            // A word alone is a name; `proto` is reserved where names are defined.
            Ok(Meaning::Name(name)) => assert_eq!(name, "proto"),
            Ok(Meaning::Atom(atom)) => panic!("{wrong}: {atom:?}"),
        }
    }
}

#[test]
fn days_go_round_the_week() {
    // Ranges of days, also across Sunday, become the days between.
    let days = |text| Days::parse(text).expect(text).0.into_iter().collect::<Vec<_>>();
    assert_eq!(days("mon-fri"), [0, 1, 2, 3, 4]);
    assert_eq!(days("sat-mon"), [0, 5, 6]);
    assert_eq!(days("sun"), [6]);
    assert_eq!(days("tue-mon").len(), 7);
    for wrong in ["", "monday", "mon-", "mon-fri-sat", "Mon"] {
        assert!(Days::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn hours_end_after_they_start_or_on_the_next_day() {
    // Hours go in; start and end come out, midnight at the end as 00:00 of the next day.
    let hours = |text: &str| Hours::parse(text).map(|h| (h.start.to_string(), h.end.to_string()));
    assert_eq!(hours("08:00-12:30"), Ok(("08:00:00".into(), "12:30:00".into())));
    assert_eq!(hours("22:00-06:00"), Ok(("22:00:00".into(), "06:00:00".into())));
    assert_eq!(hours("00:00-24:00"), Ok(("00:00:00".into(), "00:00:00".into())));
    for wrong in
        ["", "8:00-9:00", "08:00", "24:00-08:00", "08:60-09:00", "08:00-08:00", "0８:00-09:00", "+8:00-09:00"]
    {
        assert!(Hours::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_rate_allows_one_unit_at_once_unless_it_says_otherwise() {
    // Rates go in; count, unit and burst come out.
    let rate = |text| Rate::parse(text).map(|r| (r.count.get(), r.unit, r.burst.get()));
    assert_eq!(rate("100/second"), Ok((100, RateUnit::Second, 100)));
    assert_eq!(rate("10/hour burst 3"), Ok((10, RateUnit::Hour, 3)));
    for wrong in [
        "",
        "5",
        "0/second",
        "5/week",
        "5/second burst",
        "5/second burst 0",
        "5/day burst 1 2",
        "-1/day",
        "9999999/day",
        "1/day burst 1000000",
    ] {
        assert!(rate(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn device_names_are_the_kernels() {
    // What `dev_valid_name` refuses must be refused here.
    for wrong in ["", ".", "..", "a/b", "a b", "lo", "sixteen-bytes-xx", "a\n", "é"] {
        assert!(DeviceText::parse(wrong).is_err(), "{wrong}");
    }
    assert!(DeviceText::parse("fifteen-bytes-x").is_ok());
}

#[test]
fn a_length_of_time_has_a_unit() {
    // Lengths of time go in; milliseconds come out, and nothing where the unit is missing, unknown or too long.
    let parse = |text| Lapse::parse(text).map(|l| l.milliseconds).ok();
    assert_eq!(parse("10ms"), Some(10));
    assert_eq!(parse("1s"), Some(1_000));
    assert_eq!(parse("5min"), Some(300_000));
    assert_eq!(parse("1440min"), Some(86_400_000));
    assert_eq!(parse("8h"), Some(28_800_000));
    for wrong in
        ["", "10", "ms", "-1s", "1.5s", "10 ms", "25h", "1d", "1441min", "99999999999ms", "4294968s", "1S"]
    {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
    for (text, shown) in [("1500ms", "1500ms"), ("2000ms", "2s"), ("0s", "0ms"), ("2min", "120s")] {
        assert_eq!(Lapse::parse(text).expect(text).to_string(), shown);
    }
}
