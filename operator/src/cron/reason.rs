//! Why a CronBackup is as it is: the words of its conditions and Events.

use std::fmt;

/// Declares [`Reason`] with, for each, whether the schedule is followed, what it means and what
/// to do, which is empty where nothing is to be done.
macro_rules! reasons {
    ($($name:ident, $fine:literal, $meaning:literal, $remedy:literal;)*) => {
        /// Why a CronBackup is as it is. The same word is used in conditions and Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, for documentation and tests.
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

            /// What it means.
            pub(crate) fn meaning(self) -> &'static str {
                match self {
                    $(Reason::$name => $meaning,)*
                }
            }

            /// What to do; empty if nothing is to be done.
            pub(crate) fn remedy(self) -> &'static str {
                match self {
                    $(Reason::$name => $remedy,)*
                }
            }
        }
    };
}

reasons! {
    Scheduled, true, "The schedule is followed.", "";
    Suspended, true, "No backups are made while `spec.suspend` is true.", "";
    WaitsForRunning, true, "It is time for a backup, and an earlier one is still at work. The new one begins when that has ended, if the starting deadline allows it.", "If it comes often, make backups less often, or give them more bandwidth.";
    ReplacesRunning, true, "It is time for a backup, and an earlier one is cancelled for it. The new one begins when that has ended.", "If it comes often, make backups less often, or give them more bandwidth.";
    InvalidSchedule, false, "The schedule is no schedule, or names a date that never comes; the message says what is wrong. No backups are made.", "Correct `spec.schedule`.";
    InvalidTimeZone, false, "The time zone is not in the IANA database. No backups are made.", "Correct `spec.timeZone`.";
    ClockBehind, false, "A backup was already made of a later time than the operator's clock shows. No backups are made until the clock is there.", "Correct the clock.";
    NameTaken, false, "A CassandraBackup of another origin has the name that a backup should have, and was left alone. That backup was not made.", "Delete or rename the other one.";
    CreateRefused, false, "The API server refuses the backup; the message is its own. It is tried again until the starting deadline, or until the next one is due.", "Correct `spec.template`, or what refuses it: a quota, a policy, the operator's rights.";
    RehearsalRefused, false, "The API server refuses to have a backup rehearsed; the message is its own. It is asked for again at the next time of `spec.verifySchedule`.", "Correct what refuses it: a policy, the operator's rights.";
    BackupCreated, true, "A backup was made of a time of the schedule.", "";
    BackupRetried, true, "A backup was made because an earlier one of the same time failed.", "";
    SlotsMissed, false, "Times of the schedule passed without a backup, because the operator was not there, an earlier backup was still at work, or the backup was refused.", "See whether the operator is up, and how long backups take.";
    BackupsPurged, true, "A purge deleted backups that no rule of `spec.retention` keeps, or data that no backup needs; the message names them.", "";
    PurgeFailed, false, "A purge did not go through; the message says why. It is tried again, after five minutes at first.", "Do what the message says.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
