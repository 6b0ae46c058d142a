//! Hours, days, weeks, months and years, as people mean them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday, as ISO 8601 has it.
    Week,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

impl Period {
    /// A number that two times have in common when they are in the same period.
    pub fn of(self, time: Timestamp, time_zone: &TimeZone) -> i64 {
        let local = time.to_zoned(time_zone.clone());
        let date = local.date();
        let year = i64::from(date.year());
        match self {
            // By the hour's beginning in absolute time: the hour that comes twice is two hours.
            Self::Hour => {
                let into = i64::from(local.minute()) * 60 + i64::from(local.second());
                time.as_second() - into
            }
            Self::Day => year * 1000 + i64::from(date.day_of_year()),
            Self::Week => {
                let week = date.iso_week_date();
                i64::from(week.year()) * 100 + i64::from(week.week())
            }
            Self::Month => year * 100 + i64::from(date.month()),
            Self::Year => year,
        }
    }

    /// `hour`, …
    pub fn noun(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// `hourly`, …
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}
