//! Calendar days, as the `yyyy/mm/dd` folders show them.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// The day a recording was made, in the zone its time was read in.
///
/// Always a day of the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Date", into = "Date")]
pub struct Day(Date);

impl Day {
    /// Stands in where a time is outside the years that a day can have.
    pub const UNKNOWN: Self = Self(jiff::civil::date(1970, 1, 1));

    pub fn new(date: Date) -> Option<Self> {
        (1..=9999).contains(&date.year()).then_some(Self(date))
    }

    pub fn from_ymd(year: i16, month: i8, day: i8) -> Option<Self> {
        Self::new(Date::new(year, month, day).ok()?)
    }

    pub fn date(self) -> Date {
        self.0
    }

    pub fn year(self) -> u16 {
        self.0.year().unsigned_abs()
    }

    pub fn month(self) -> u8 {
        self.0.month().unsigned_abs()
    }

    pub fn day(self) -> u8 {
        self.0.day().unsigned_abs()
    }

    /// Days since 1 January of the year 1, from 0: at most 3,652,058.
    pub fn number(self) -> u32 {
        let days = self.0.duration_since(FIRST).as_hours() / 24;
        u32::try_from(days).expect("a day is never before the first one")
    }

    /// The day that has this number.
    pub fn from_number(number: u32) -> Option<Self> {
        let days = jiff::Span::new().try_days(i64::from(number)).ok()?;
        FIRST.checked_add(days).ok().and_then(Self::new)
    }
}

const FIRST: Date = jiff::civil::date(1, 1, 1);

/// `yyyy-mm-dd`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year(), self.month(), self.day())
    }
}

impl TryFrom<Date> for Day {
    type Error = String;

    fn try_from(date: Date) -> Result<Self, String> {
        Self::new(date).ok_or_else(|| format!("{date} is outside the years 1 to 9999"))
    }
}

impl From<Day> for Date {
    fn from(day: Day) -> Self {
        day.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_comes_back_from_its_number() {
        for (year, month, day) in [(1, 1, 1), (1969, 12, 31), (2024, 2, 29), (9999, 12, 31)] {
            let day = Day::from_ymd(year, month, day).unwrap();
            assert_eq!(Day::from_number(day.number()), Some(day));
        }
        assert_eq!(Day::from_number(3_652_059), None);
    }
}
