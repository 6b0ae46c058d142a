//! How far a command is that looks at a storage: a line that changes on a terminal, elsewhere a line
//! now and then.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::serve::note;

/// How often progress is told where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Spinner {
    bar: Option<ProgressBar>,
    told: Mutex<Instant>,
}

impl Spinner {
    /// Begins to turn.
    pub fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            told: Mutex::new(Instant::now()),
        }
    }

    /// Says how far it is.
    pub fn tell(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text());
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= PAUSE {
            *told = Instant::now();
            note!("{}", text());
        }
    }

    /// Goes away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
