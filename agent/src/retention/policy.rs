//! What is to be kept.

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::Period;

/// How much is kept of each series and scope. A rule of 0 is no rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The last N backups.
    pub last: u32,
    /// The last backup of each of the newest N hours that have one.
    pub hourly: u32,
    /// The same by days.
    pub daily: u32,
    /// The same by ISO weeks.
    pub weekly: u32,
    /// The same by months.
    pub monthly: u32,
    /// The same by years.
    pub yearly: u32,
    /// All that are not older than the newest by more than this.
    pub within: Option<SignedDuration>,
    /// At least this many complete backups stay, whatever the rules say; 0 counts as 1.
    pub minimum_complete: u32,
    /// Whose midnight divides days.
    pub time_zone: TimeZone,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: None,
            minimum_complete: 1,
            time_zone: TimeZone::UTC,
        }
    }
}

impl Policy {
    /// Whether there is no rule, so that everything is kept.
    pub fn is_empty(&self) -> bool {
        self.last == 0 && self.within.is_none() && self.periods().iter().all(|(_, n)| *n == 0)
    }

    /// The rules of the calendar.
    pub(super) fn periods(&self) -> [(Period, u32); 5] {
        [
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
    }
}
