//! Progress: every step that takes more than two seconds shows what it is, how long it has taken and,
//! where somebody says so, what it is at. Live on a terminal, plain lines elsewhere.
//!
//! Steps are told to a process-wide [`Sink`], so that the code that works knows nothing of who
//! watches: a program draws them itself, the keeper of the bed passes them on to its clients.

use std::collections::HashMap;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

/// Steps shorter than this are not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(2);
/// How often a step that goes on says so where there is no terminal.
const REMINDER: Duration = Duration::from_secs(20);

/// What happens to a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// The step, unique over all processes of one machine.
    pub id: u64,
    /// What is being done, in the words of the person who waits.
    pub label: String,
    /// What it is at, as the program says that works at it; empty where none does.
    #[serde(default)]
    pub at: String,
    /// Seconds since the step began.
    pub seconds: f64,
    /// Where it is.
    pub state: State,
}

impl Event {
    fn what(&self) -> String {
        match self.at.as_str() {
            "" => self.label.clone(),
            at => format!("{} ({at})", self.label),
        }
    }
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has just begun.
    Started,
    /// It goes on: told after two seconds, then now and then.
    Running,
    /// It is done.
    Done,
    /// It failed; the error is reported by whoever asked for the step.
    Failed,
    /// Nobody waits for it any more.
    Cancelled,
}

/// Somebody who is told about steps.
pub trait Sink: Send + Sync {
    /// Takes one event; must not block.
    fn take(&self, event: &Event);
}

static SINK: OnceLock<Arc<dyn Sink>> = OnceLock::new();

tokio::task_local! {
    /// What the innermost step is at.
    static AT: Arc<Mutex<String>>;
}

/// Says what the step that calls this is at; without a step, nobody is told.
pub fn is_at(what: &str) {
    let _ = AT.try_with(|at| {
        what.clone_into(&mut at.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// Tells all steps of this process to `sink` from now on. Only the first call has an effect; a
/// process that never calls it draws its steps on standard error.
pub fn tell(sink: Arc<dyn Sink>) {
    let _ = SINK.set(sink);
}

/// Passes on a step of another process.
pub fn forward(event: &Event) {
    SINK.get_or_init(|| Arc::new(Screen::default())).take(event);
}

/// Does `work` as a step that is called `label`.
pub async fn step<T, E>(
    label: impl Into<String>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut step = Step::start(label.into());
    let mut work = std::pin::pin!(AT.scope(Arc::clone(&step.at), work));
    let mut patience = WORTH_A_LINE;
    let result = loop {
        match tokio::time::timeout(patience, &mut work).await {
            Ok(result) => break result,
            Err(_) => step.tell(State::Running),
        }
        patience = REMINDER;
    };
    step.end(if result.is_ok() {
        State::Done
    } else {
        State::Failed
    });
    result
}

struct Step {
    id: u64,
    label: String,
    at: Arc<Mutex<String>>,
    began: Instant,
    ended: bool,
}

impl Step {
    fn start(label: String) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = u64::from(std::process::id()) << 32 | u64::from(number);
        let step = Self {
            id,
            label,
            at: Arc::default(),
            began: Instant::now(),
            ended: false,
        };
        step.tell(State::Started);
        step
    }

    fn tell(&self, state: State) {
        forward(&self.event(state));
    }

    fn event(&self, state: State) -> Event {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        Event {
            id: self.id,
            label: self.label.clone(),
            at: at.clone(),
            seconds: self.began.elapsed().as_secs_f64(),
            state,
        }
    }

    fn end(&mut self, state: State) {
        self.ended = true;
        self.tell(state);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(State::Cancelled);
        }
    }
}

/// Draws steps on standard error: a live line each on a terminal, plain lines elsewhere.
#[derive(Default)]
pub struct Screen {
    live: MultiProgress,
    bars: Mutex<HashMap<u64, ProgressBar>>,
}

impl Sink for Screen {
    fn take(&self, event: &Event) {
        if std::io::stderr().is_terminal() {
            self.draw(event);
        } else if let Some(line) = plain(event) {
            // Written, not printed: the test harness would swallow what is printed.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

impl Screen {
    fn draw(&self, event: &Event) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event.state {
            State::Started | State::Running => {
                let bar = bars.entry(event.id).or_insert_with(|| {
                    let bar = ProgressBar::new_spinner().with_style(style());
                    // A step of another process may have begun long before we saw it.
                    let bar = bar.with_elapsed(Duration::from_secs_f64(event.seconds));
                    self.live.add(bar)
                });
                bar.set_message(event.what());
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            State::Done | State::Failed | State::Cancelled => {
                if let Some(bar) = bars.remove(&event.id) {
                    bar.finish_and_clear();
                    self.live.remove(&bar);
                }
                if let Some(line) = plain(event) {
                    let _ = self.live.println(line);
                }
            }
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn plain(event: &Event) -> Option<String> {
    let Event {
        label,
        seconds,
        state,
        ..
    } = event;
    let worth = *seconds >= WORTH_A_LINE.as_secs_f64();
    match state {
        State::Started => None,
        State::Running => Some(format!("  {} ... {seconds:.0} s", event.what())),
        State::Done if worth => Some(format!("  {label}: {seconds:.1} s")),
        State::Done => None,
        State::Failed => Some(format!("  {label}: failed after {seconds:.1} s")),
        State::Cancelled if worth => Some(format!("  {label}: cancelled after {seconds:.1} s")),
        State::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64, state: State) -> Option<String> {
        plain(&Event {
            id: 1,
            label: "build x".into(),
            at: String::new(),
            seconds,
            state,
        })
    }

    #[test]
    fn only_what_takes_over_two_seconds_gets_a_plain_line() {
        assert_eq!(at(1.9, State::Done), None);
        assert_eq!(at(0.0, State::Started), None);
        assert_eq!(at(12.34, State::Done).unwrap(), "  build x: 12.3 s");
        assert_eq!(at(22.0, State::Running).unwrap(), "  build x ... 22 s");
        assert_eq!(
            at(0.5, State::Failed).unwrap(),
            "  build x: failed after 0.5 s"
        );
    }

    #[tokio::test]
    async fn a_step_that_goes_on_says_what_it_is_at() {
        let mut step = Step::start("build x".into());
        AT.scope(Arc::clone(&step.at), async { is_at("Compiling y") })
            .await;
        let event = Event {
            seconds: 3.0,
            ..step.event(State::Running)
        };
        assert_eq!(plain(&event).unwrap(), "  build x (Compiling y) ... 3 s");
        is_at("nobody listens");
        step.end(State::Done);
    }
}
