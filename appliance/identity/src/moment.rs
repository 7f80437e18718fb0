//! Points in time, as whole seconds.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Seconds since 1970-01-01 00:00 UTC. Passed in by the driver, never read here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

/// The last second of the year 9999, the end of what a certificate can say (RFC 5280 §4.1.2.5).
const LAST: i64 = 253_402_300_799;

impl Moment {
    /// From seconds since 1970, kept between the years 1970 and 9999.
    pub fn new(seconds: i64) -> Self {
        Self(seconds.clamp(0, LAST))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// Later by this.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::new(self.0.saturating_add_unsigned(duration.as_secs()))
    }

    /// Earlier by this.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self::new(self.0.saturating_sub_unsigned(duration.as_secs()))
    }

    /// How long after `earlier`; zero if before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub(crate) fn calendar(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0.clamp(0, LAST)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// From a date and a time of day in UTC.
    pub(crate) fn from_calendar(date: [u16; 3], time: [u8; 3]) -> Option<Self> {
        let [year, month, day] = date;
        let [hour, minute, second] = time;
        let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date = time::Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
        let time = time::Time::from_hms(hour, minute, second).ok()?;
        Some(Self(OffsetDateTime::new_utc(date, time).unix_timestamp()))
    }
}

/// The date and the time of day in UTC.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.calendar();
        let (date, time) = (at.date(), at.time());
        write!(f, "{:04}-{:02}-{:02} ", date.year(), u8::from(date.month()), date.day())?;
        write!(f, "{:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
    }
}
