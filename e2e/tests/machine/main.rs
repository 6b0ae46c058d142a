//! The command line beside a Cassandra on the host.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backup_on_a_bare_machine;
mod cassandra_versions;
mod check_of_buckets;
mod clock_of_google_and_azure;
mod clock_on_a_bare_machine;
mod commands_on_a_bare_machine;
mod damage_on_a_bare_machine;
mod memory_of_a_backup;
mod purge;
mod restore_of_one_node;
mod restore_online;
mod worth_retrying;
