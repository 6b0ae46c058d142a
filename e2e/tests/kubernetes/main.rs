//! What the operator does on a real cluster, two tests at a time: most of the time each waits. What
//! needs the cluster for itself is beside this directory.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent_in_other_images;
mod alerts;
mod ambient_identity;
mod backup_of_three_nodes;
mod backups_that_fail;
mod definitions;
mod deletions;
mod gitops;
mod operator_is_killed;
mod plugin;
mod purge_of_files;
mod quick_start;
mod rehearsals;
mod restore_from_storage;
mod restores;
mod samples;
mod schedules;
mod secrets_stay_secret;
mod several_operators;
mod storages_as_resources;
mod thousand_backups;
mod thousand_nodes;
