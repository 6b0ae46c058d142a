//! The rules of slots once more, as simple as they can be: every minute of a year is looked at.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The five fields as sets of bits, read from numbers, `*`, lists, ranges and steps.
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    every_day: bool,
    every_weekday: bool,
}

impl Fields {
    pub(super) fn read(schedule: &str) -> Self {
        let parts: Vec<_> = schedule.split(' ').collect();
        Self {
            minutes: field(parts[0], 0, 59),
            hours: field(parts[1], 0, 23),
            days: field(parts[2], 1, 31),
            months: field(parts[3], 1, 12),
            weekdays: field(parts[4], 0, 6),
            every_day: parts[2] == "*",
            every_weekday: parts[4] == "*",
        }
    }

    fn has(&self, time: DateTime) -> bool {
        if !has(self.minutes, time.minute()) || !has(self.hours, time.hour()) {
            return false;
        }
        let day = has(self.days, time.day());
        let weekday = has(self.weekdays, time.weekday().to_sunday_zero_offset());
        let date = match (self.every_day, self.every_weekday) {
            (false, false) => day || weekday,
            _ => day && weekday,
        };
        date && has(self.months, time.month())
    }
}

fn has(set: u64, value: i8) -> bool {
    set >> value & 1 == 1
}

fn field(text: &str, least: u8, most: u8) -> u64 {
    text.split(',').fold(0, |set, part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if range == "*" => (least, most),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        let values = (from..=to).step_by(step.parse().unwrap());
        values.fold(set, |set, value| set | 1 << value)
    })
}

/// What a clock on the wall shows for the first time, and when.
type Shown = Vec<(Timestamp, DateTime)>;
type Years = HashMap<(&'static str, i16), Arc<Shown>>;

/// All that a clock on the wall shows in a year, minute by minute. Where it leaps, it shows all
/// that it leaves out at once; where it is put back, nothing new.
pub(super) fn shown(zone: &'static str, year: i16) -> Arc<Shown> {
    /// The tests ask for the same years again and again.
    static YEARS: LazyLock<Mutex<Years>> = LazyLock::new(Mutex::default);
    let mut years = YEARS.lock().unwrap();
    let year = years
        .entry((zone, year))
        .or_insert_with(|| Arc::new(watch(&TimeZone::get(zone).unwrap(), year)));
    Arc::clone(year)
}

fn watch(zone: &TimeZone, year: i16) -> Shown {
    let (from, to) = bounds(year);
    let minute = SignedDuration::from_mins(1);
    let mut shown = Vec::new();
    let mut instant = from - SignedDuration::from_hours(24);
    let mut last = zone.to_datetime(instant);
    while instant < to {
        let now = zone.to_datetime(instant);
        while last < now {
            last = last.checked_add(minute).unwrap();
            if instant >= from {
                shown.push((instant, last));
            }
        }
        instant += minute;
    }
    shown
}

/// From the first minute of a year to the first one of the next, in UTC.
pub(super) fn bounds(year: i16) -> (Timestamp, Timestamp) {
    let start = |year| {
        let first = date(year, 1, 1).at(0, 0, 0, 0);
        first.to_zoned(TimeZone::UTC).unwrap().timestamp()
    };
    (start(year), start(year + 1))
}

/// The slots among what the clock shows.
pub(super) fn slots(fields: &Fields, shown: &Shown) -> Vec<Timestamp> {
    let due = shown.iter().filter(|(_, time)| fields.has(*time));
    let mut slots: Vec<_> = due.map(|(instant, _)| *instant).collect();
    slots.dedup();
    slots
}
