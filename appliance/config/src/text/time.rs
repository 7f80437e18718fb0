//! Days, hours, dates and rates.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use jiff::civil::{Date, Time};
use toml::de::DeValue;

use super::{Malformed, Syntax, from_string};
use crate::decode::{Decode, Defs, Kind, wrong_type};
use crate::faults::{Faults, shown};
use crate::model::{Rate, RateUnit};
use crate::tree::Value;

/// `mon`, `mon-fri`, `sat-mon`: Monday 0 to Sunday 6.
#[derive(Clone, Debug)]
pub(crate) struct Days(pub BTreeSet<u8>);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Syntax for Days {
    const WANTED: &'static str = "a day or a range of days";
    const EXAMPLES: &'static [&'static str] = &["mon-fri", "sat", "sat-mon"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        let day = |t: &str| DAYS.iter().zip(0..).find(|(d, _)| **d == t).map(|(_, n): (_, u8)| n);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (day(first), day(last)) else {
            return Err(Malformed::new(format!("`{}` is not a day", shown(text)))
                .hint(format!("{}, or a range such as `mon-fri`", DAYS.join(", "))));
        };
        let length = (last + 7 - first) % 7;
        Ok(Self((0..=length).map(|n| (first + n) % 7).collect()))
    }
}

/// `08:00-12:30`; the end may be `24:00`, or lie before the start and so on the next day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hours {
    pub start: Time,
    pub end: Time,
}

impl Syntax for Hours {
    const WANTED: &'static str = "hours such as `08:00-18:00`";
    const EXAMPLES: &'static [&'static str] = &["08:00-12:30", "22:00-06:00", "00:00-24:00"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        let part = |t: &str, most: i8| -> Option<i8> {
            let right = t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
            right.then(|| t.parse().ok()).flatten().filter(|n| *n <= most)
        };
        let time = |t: &str| {
            let (hour, minute) = t.split_once(':')?;
            Time::new(part(hour, 23)?, part(minute, 59)?, 0, 0).ok()
        };
        let end = |t: &str| if t == "24:00" { Some(Time::midnight()) } else { time(t) };
        let both = text.split_once('-').and_then(|(a, b)| Some((time(a)?, end(b)?)));
        let Some((start, end)) = both else {
            return Err(Malformed::new(format!("`{}` are not hours", shown(text)))
                .hint("two times of day, 00:00 to 24:00: `08:00-18:00`"));
        };
        if start == end && start != Time::midnight() {
            return Err(Malformed::new(format!("`{text}` ends when it starts"))
                .hint("write `00:00-24:00` for the whole day"));
        }
        Ok(Self { start, end })
    }
}

/// A date: TOML's own, or a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day(pub Date);

impl Decode for Day {
    fn wanted() -> String {
        "a date such as 2027-03-31".into()
    }
    fn takes(kind: Kind) -> bool {
        matches!(kind, Kind::Date | Kind::Text)
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        let date = match value.get_ref() {
            DeValue::Datetime(d) => match (d.date, d.time) {
                (Some(d), None) => {
                    let year = i16::try_from(d.year).ok();
                    let (month, day) = (i8::try_from(d.month).ok(), i8::try_from(d.day).ok());
                    year.zip(month).zip(day).and_then(|((y, m), d)| Date::new(y, m, d).ok())
                }
                _ => {
                    faults
                        .error("bad-value", &value.span(), "expected a date without a time")
                        .hint("the flow is in force to the end of that day");
                    return None;
                }
            },
            DeValue::String(s) if s.len() == 10 => s.parse().ok(),
            DeValue::String(_) => None,
            _ => {
                wrong_type::<Self>(value, faults);
                return None;
            }
        };
        if date.is_none() {
            faults
                .error("bad-value", &value.span(), "there is no such date")
                .hint("year, month, day: 2027-03-31");
        }
        date.map(Self)
    }
    fn schema(_: &mut Defs) -> serde_json::Value {
        serde_json::json!({ "type": "string", "format": "date", "examples": ["2027-03-31"] })
    }
}

/// Most of a rate, per unit and at once: more than a kernel of ours accepts connections.
const MAX_RATE: u32 = 1_000_000;

impl Syntax for Rate {
    const WANTED: &'static str = "a rate such as `100/second`";
    const EXAMPLES: &'static [&'static str] = &["100/second", "10/minute burst 20", "1/day"];

    /// Without `burst`, one unit's worth may come at once: `60/hour` means sixty in any hour, not one a minute.
    fn parse(text: &str) -> Result<Self, Malformed> {
        let fault = || Malformed::new(format!("`{}` is not a rate", shown(text)));
        let usage = "N/second, N/minute, N/hour or N/day; `burst N` may follow";
        let number = |t: &str| -> Option<NonZeroU32> {
            let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| t.parse().ok()).flatten().filter(|n: &NonZeroU32| n.get() <= MAX_RATE)
        };
        let mut words = text.split_whitespace();
        let rate = words.next().and_then(|w| w.split_once('/'));
        let (count, unit) = rate.ok_or_else(|| fault().hint(usage))?;
        let unit = match unit {
            "second" | "s" => RateUnit::Second,
            "minute" | "min" => RateUnit::Minute,
            "hour" | "h" => RateUnit::Hour,
            "day" | "d" => RateUnit::Day,
            _ => return Err(fault().hint(usage)),
        };
        let bounds = || fault().hint(format!("a number from 1 to {MAX_RATE}"));
        let count = number(count).ok_or_else(bounds)?;
        let burst = match (words.next(), words.next(), words.next()) {
            (None, ..) => count,
            (Some("burst"), Some(burst), None) => number(burst).ok_or_else(bounds)?,
            _ => return Err(fault().hint(usage)),
        };
        if u128::from(nanoseconds(unit) / u64::from(count.get())) * u128::from(burst.get()) > u64::MAX.into()
        {
            return Err(fault().hint("the kernel cannot count so large a burst of so slow a rate"));
        }
        Ok(Self { count, unit, burst })
    }
}

/// The kernel keeps a burst as the time that it takes to refill, in nanoseconds and 64 bits
/// (`nft_limit_init` in net/netfilter/nft_limit.c).
fn nanoseconds(unit: RateUnit) -> u64 {
    let seconds = match unit {
        RateUnit::Second => 1,
        RateUnit::Minute => 60,
        RateUnit::Hour => 3_600,
        RateUnit::Day => 86_400,
    };
    seconds * 1_000_000_000
}

/// `syn_limit`: a rate, or `off`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SynLimit {
    Off,
    Rate(Rate),
}

impl Syntax for SynLimit {
    const WANTED: &'static str = "`off` or a rate such as `500/second`";
    const EXAMPLES: &'static [&'static str] = &["500/second", "off"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        if text == "off" { Ok(Self::Off) } else { Rate::parse(text).map(Self::Rate) }
    }
}

/// A length of time: `100ms`, `1s`, `5min`, `8h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lapse {
    pub milliseconds: u32,
}

/// Longest length of time that the document can say: a day is more than any wait between two routers.
const MAX_LAPSE_MS: u32 = 86_400_000;

impl Syntax for Lapse {
    const WANTED: &'static str = "a length of time such as `100ms`";
    const EXAMPLES: &'static [&'static str] = &["100ms", "1s", "5min", "8h"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "min" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let whole = number.parse::<u32>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
        match whole.filter(|ms| *ms <= MAX_LAPSE_MS) {
            Some(milliseconds) => Ok(Self { milliseconds }),
            None => Err(Malformed::new(format!("`{}` is not a length of time", shown(text)))
                .hint("a whole number of `ms`, `s`, `min` or `h`, a day at most: `100ms`")),
        }
    }
}

/// As a person would write it.
impl std::fmt::Display for Lapse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.milliseconds {
            ms if ms != 0 && ms.is_multiple_of(1_000) => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

from_string!(Days, Hours, Lapse, Rate, SynLimit);
