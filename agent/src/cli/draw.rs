//! Events for people: a bar on a terminal, a line now and then elsewhere, a summary at the end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use protocol::{Event, EventKind, Outcome, Progress, Reason, Tally};

use crate::serve::{Tell, note};

/// How often progress is told where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

const BAR: &str =
    "{spinner} {prefix:<13} {bar:20} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}";
const SPINNER: &str = "{spinner} {prefix:<13} {msg}";

pub(super) struct Drawing {
    backup: Option<String>,
    bar: Option<ProgressBar>,
    phase: String,
    started: Option<Timestamp>,
    told: Option<Instant>,
}

impl Drawing {
    /// For the backup of this name, if that is known.
    pub fn new(backup: Option<String>) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            bar.set_style(style(SPINNER));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            backup,
            bar,
            phase: String::new(),
            started: None,
            told: None,
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => note!("{line}"),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let files = format!(
            "{} of {} files, {} already stored",
            progress.uploaded.files, progress.to_upload.files, progress.reused.files
        );
        match &self.bar {
            Some(bar) => {
                if progress.to_upload.bytes > 0 && bar.length() == Some(0) {
                    bar.set_style(style(BAR));
                    bar.reset_eta();
                }
                bar.set_length(progress.to_upload.bytes);
                bar.set_position(progress.uploaded.bytes);
                bar.set_message(files);
            }
            None if self.told.is_none_or(|told| told.elapsed() >= PAUSE) => {
                self.told = Some(Instant::now());
                note!(
                    "{}: {} of {} uploaded, {files}",
                    self.phase,
                    HumanBytes(progress.uploaded.bytes),
                    HumanBytes(progress.to_upload.bytes)
                );
            }
            None => {}
        }
    }

    fn end(&mut self, ended: Timestamp, outcome: &Outcome) -> io::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if outcome.reason != Reason::Succeeded {
            note!("{}: {}", outcome.reason, outcome.message);
            note!("{}", outcome.reason.explanation());
            return Ok(());
        }
        let took = self.started.map(|started| ended.duration_since(started));
        let summary = summary(self.backup.as_deref(), took, outcome);
        let mut out = io::stdout().lock();
        out.write_all(summary.as_bytes())?;
        out.flush()
    }
}

impl Tell for Drawing {
    fn tell(&mut self, line: &[u8]) -> io::Result<()> {
        // What a newer version says, this one cannot draw.
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            return Ok(());
        };
        match event.kind {
            EventKind::Started { attempt, .. } => {
                self.started = Some(event.time);
                self.say(&format!("run {}, attempt {attempt}", event.run_id));
            }
            EventKind::Phase { phase, node } => {
                self.phase = phase.to_string();
                if let Some(bar) = &self.bar {
                    bar.set_prefix(self.phase.clone());
                } else {
                    let node = node.map(|node| format!(" node {}", node.host_id));
                    note!("{}{}", self.phase, node.unwrap_or_default());
                }
            }
            EventKind::Progress(progress) => self.progress(&progress),
            EventKind::Warning { reason, message } => {
                self.say(&format!("warning: {reason}: {message}"));
            }
            EventKind::Result(outcome) => return self.end(event.time, &outcome),
        }
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn summary(backup: Option<&str>, took: Option<jiff::SignedDuration>, outcome: &Outcome) -> String {
    let seconds = |duration: jiff::SignedDuration| format!("{:.1} s", duration.as_secs_f64());
    let tally = |tally: Tally| format!("{} files, {}", tally.files, HumanBytes(tally.bytes));
    let progress = &outcome.progress;
    let snapshot = outcome
        .snapshot
        .as_ref()
        .map(|snapshot| seconds(snapshot.ended_at.duration_since(snapshot.started_at)));
    let rows = [
        ("backup", backup.map(str::to_owned)),
        ("uploaded", Some(tally(progress.uploaded))),
        ("reused", Some(tally(progress.reused))),
        ("touched", Some(format!("{} objects", progress.touched))),
        ("snapshot", snapshot),
        ("duration", took.map(seconds)),
        ("manifest", outcome.manifest.clone()),
    ];
    rows.into_iter()
        .filter_map(|(name, value)| Some(format!("{name:<10}{}\n", value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use protocol::SnapshotTimes;

    use super::*;

    #[test]
    fn the_summary_has_what_people_ask_for() {
        let mut outcome = Outcome::ended(Reason::Succeeded, "done", 1);
        outcome.manifest = Some("prod/manifests/b1/n.jsonl".into());
        outcome.snapshot = Some(SnapshotTimes {
            started_at: "2026-11-23T10:15:00Z".parse().unwrap(),
            ended_at: "2026-11-23T10:15:00.75Z".parse().unwrap(),
            late_ms: None,
        });
        outcome.progress.uploaded = Tally {
            files: 3,
            bytes: 3 << 20,
        };
        outcome.progress.reused = Tally {
            files: 20,
            bytes: 1 << 30,
        };
        outcome.progress.touched = 20;
        let took = jiff::SignedDuration::from_millis(2500);
        assert_eq!(
            summary(Some("b1"), Some(took), &outcome),
            "backup    b1\n\
             uploaded  3 files, 3.00 MiB\n\
             reused    20 files, 1.00 GiB\n\
             touched   20 objects\n\
             snapshot  0.8 s\n\
             duration  2.5 s\n\
             manifest  prod/manifests/b1/n.jsonl\n"
        );
    }
}
