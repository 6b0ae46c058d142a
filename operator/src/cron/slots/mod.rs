//! The times of a schedule in a time zone: its slots. Nothing here knows what time it is.

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

/// Enough to see the nights and weekends that an hourly schedule leaves out.
const SLOTS_FOR_INTERVAL: usize = 200;
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A schedule that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    #[error("spec.schedule {schedule:?} is no schedule: {problem}")]
    Schedule { schedule: String, problem: String },
    #[error("spec.schedule {schedule:?} names a date that never comes")]
    Never { schedule: String },
    #[error(
        "spec.timeZone {name:?} is no time zone of the IANA database: write a name such as Europe/Berlin or Etc/UTC"
    )]
    TimeZone { name: String },
}

/// A schedule that was understood.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// How much later than its slot each backup begins.
    jitter: SignedDuration,
}

impl Schedule {
    /// Understands a schedule in the syntax of cron and the name of its time zone.
    pub(super) fn parse(
        schedule: &str,
        zone: &str,
        jitter: SignedDuration,
    ) -> Result<Self, Invalid> {
        let invalid = |problem: String| Invalid::Schedule {
            schedule: schedule.into(),
            problem,
        };
        let text = match schedule.trim() {
            "@midnight" => "@daily",
            other => other,
        };
        let fields = text.split_whitespace().count();
        if !text.starts_with('@') && fields != 5 {
            return Err(invalid(format!(
                "it has {fields} fields instead of minute, hour, day of month, month and day of week"
            )));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(text)
            .map_err(|error| invalid(error.to_string()))?;
        // Leap years are at most eight years apart, and this is long before any backup.
        let first = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        if cron.find_next_occurrence(&first, true).is_err() {
            return Err(Invalid::Never {
                schedule: schedule.into(),
            });
        }
        let zone = TimeZone::get(zone).map_err(|_| Invalid::TimeZone { name: zone.into() })?;
        Ok(Self { cron, zone, jitter })
    }

    /// The slots after an instant, each once and in order.
    ///
    /// A time of day that a clock put forward leaves out is the instant at which it is put
    /// forward; one that a clock put back shows twice is the first of the two.
    pub(super) fn after(&self, instant: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let mut last = instant;
        let mut from = (self.zone.to_datetime(instant), true);
        std::iter::from_fn(move || {
            loop {
                let time = self.cron.find_next_occurrence(&from.0, from.1).ok()?;
                from = (time, false);
                let slot = self.instant(time)?;
                if slot > last {
                    last = slot;
                    return Some(slot);
                }
            }
        })
    }

    /// The longest time between two of the next slots, of a year at most: what may pass between two
    /// backups without anything being wrong.
    pub(super) fn longest_interval(&self, now: Timestamp) -> Option<SignedDuration> {
        let mut slots = self.after(now).take(SLOTS_FOR_INTERVAL);
        let mut before = slots.next()?;
        let mut longest = None;
        for slot in slots {
            longest = longest.max(Some(slot.duration_since(before)));
            if slot.duration_since(now) > YEAR {
                break;
            }
            before = slot;
        }
        longest
    }

    /// When the backup of a slot begins.
    pub(super) fn start(&self, slot: Timestamp) -> Timestamp {
        slot.saturating_add(self.jitter).unwrap_or(slot)
    }

    /// The latest instant whose slot has begun by now, if it is one.
    pub(super) fn begun(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.jitter).unwrap_or(now)
    }

    /// A slot as its time zone shows it.
    pub(super) fn shown(&self, slot: Timestamp) -> Zoned {
        slot.to_zoned(self.zone.clone())
    }

    fn instant(&self, time: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => ambiguous.unambiguous().ok(),
            AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let before_the_gap = after.to_timestamp(time).ok()?;
                let transition = self.zone.following(before_the_gap).next()?;
                Some(transition.timestamp())
            }
        }
    }
}

/// How much later than the schedule says a resource's backups begin: up to `most` seconds, and
/// always the same, so that many resources with one schedule do not begin together.
pub(super) fn jitter(namespace: &str, name: &str, most: i64) -> SignedDuration {
    let hash = blake3::hash(format!("{namespace}/{name}").as_bytes());
    let first = hash
        .as_bytes()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let choices = u64::try_from(most.max(0)).unwrap_or(0) + 1;
    SignedDuration::from_secs(i64::try_from(first % choices).unwrap_or(0))
}
