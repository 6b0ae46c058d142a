//! Why a CronBackup is as it is: the words of its conditions and Events.

use std::fmt;

/// Declares [`Reason`] with, for each, whether the schedule is followed, and what it means and
/// what to do.
macro_rules! reasons {
    ($($name:ident, $fine:literal, $text:literal;)*) => {
        /// Why a CronBackup is as it is. The same word is used in conditions and Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $(#[doc = $text] $name,)*
        }

        impl Reason {
            /// Every reason, for documentation and tests.
            #[cfg(test)]
            pub(crate) const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The name as it appears in conditions and Events.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)*
                }
            }

            /// Whether all is well with a reason that stands in a status.
            pub(crate) fn is_fine_word(word: &str) -> bool {
                match word {
                    $(stringify!($name) => $fine,)*
                    _ => false,
                }
            }

            /// Whether all is as the resource wants it.
            pub(crate) fn is_fine(self) -> bool {
                match self {
                    $(Reason::$name => $fine,)*
                }
            }

            /// What it means and what to do, in one or two sentences.
            #[cfg(test)]
            pub(crate) fn explanation(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    Scheduled, true, "The schedule is followed.";
    Suspended, true, "No backups are made while `spec.suspend` is true.";
    WaitsForRunning, true, "It is time for a backup, and an earlier one is still at work. The new one begins when that has ended, if the starting deadline allows it.";
    ReplacesRunning, true, "It is time for a backup, and an earlier one is cancelled for it. The new one begins when that has ended.";
    InvalidSchedule, false, "The schedule is no schedule, or names a date that never comes; the message says what is wrong. No backups are made: correct `spec.schedule`.";
    InvalidTimeZone, false, "The time zone is not in the IANA database. No backups are made: correct `spec.timeZone`.";
    ClockBehind, false, "A backup was already made of a later time than the operator's clock shows. No backups are made until the clock is there: correct the clock.";
    NameTaken, false, "A CassandraBackup of another origin has the name that a backup should have, and was left alone. That backup was not made; delete or rename the other one.";
    CreateRefused, false, "The API server refuses the backup; the message is its own. It is tried again until the starting deadline, or until the next one is due.";
    BackupCreated, true, "A backup was made of a time of the schedule.";
    BackupRetried, true, "A backup was made because an earlier one of the same time failed.";
    SlotsMissed, false, "Times of the schedule passed without a backup, because the operator was not there, an earlier backup was still at work, or the backup was refused.";
    BackupsPurged, true, "A purge deleted backups that no rule of `spec.retention` keeps, or data that no backup needs; the message names them.";
    PurgeFailed, false, "A purge did not go through; the message says why. It is tried again, after five minutes at first.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_explained_in_the_documentation() {
        let page = include_str!("../../../docs/cron-backup.md");
        for reason in Reason::ALL {
            let row = format!("| `{reason}` | {} |", reason.explanation());
            assert!(page.contains(&row), "docs/cron-backup.md lacks {row}");
        }
    }
}
