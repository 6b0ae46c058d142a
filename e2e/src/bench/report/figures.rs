//! The figures to reach, and whether they were: ratios within one run, as it is.

use super::text::{cell, seconds};
use crate::bench::cases::reader::{self, AGAIN, CONTROL};
use crate::bench::cases::{Kind, manifest, new_data, nothing_new, restore};
use crate::bench::results::{Case, Results, Sample, Series};
use crate::bench::tools::{Agent, Tool};
use crate::parts::medusa::Speed;

/// One figure.
pub struct Figure {
    /// What was done.
    pub case: String,
    /// What it is to be.
    pub goal: String,
    /// What it was, in words.
    pub measured: String,
    /// Nothing where there is no goal, or nothing was measured.
    pub reached: Option<bool>,
}

const OURS: Tool = Tool::Agent(Agent::Default);

/// All figures that are to be reached.
pub fn all(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    for kind in [Kind::S3, Kind::File] {
        if let Some(case) = results.case(new_data::name(kind)) {
            new(&mut figures, kind, case);
        }
    }
    for kind in [Kind::S3, Kind::File] {
        if let Some(case) = results.case(nothing_new::name(kind)) {
            nothing(&mut figures, case);
        }
    }
    if let Some(case) = results.case(restore::NAME) {
        restored(&mut figures, case);
    }
    whole(&mut figures, results);
    if let Some(case) = results.case(manifest::NAME) {
        for what in [manifest::WRITE, manifest::READ] {
            if let Some(series) = case.of(what) {
                let took = series.wall();
                most(
                    &mut figures,
                    manifest::NAME,
                    &format!("{what}: ≤ 1.5 s"),
                    took,
                    1.5,
                    "s",
                );
                let rss = series.most_rss().map(to_mib);
                most(
                    &mut figures,
                    manifest::NAME,
                    &format!("{what}: ≤ 128 MiB"),
                    rss,
                    128.0,
                    "MiB",
                );
            }
        }
    }
    if let Some(case) = results.case(reader::NAME) {
        reader_figures(&mut figures, case);
    }
    figures
}

fn new(figures: &mut Vec<Figure>, kind: Kind, case: &Case) {
    let ours = case.of(OURS.name());
    let wall = |tool: Tool| case.of(tool.name()).and_then(Series::wall);
    let base = match kind {
        Kind::S3 => Tool::Curl,
        Kind::File => Tool::Copy,
    };
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let mine = ours.and_then(Series::wall);
    let goal = format!("≤ 1.1 × {}", base.name());
    most(
        figures,
        &case.name,
        &goal,
        ratio(mine, wall(base)),
        1.1,
        "×",
    );
    let others: &[(Tool, f64)] = match kind {
        Kind::S3 => &[(Tool::Medusa(Speed::Tuned), 5.0)],
        Kind::File => &[(Tool::Medusa(Speed::Tuned), 10.0), (Tool::Esop, 10.0)],
    };
    for &(tool, times) in others {
        let goal = format!("≥ {times} × faster than {}", tool.name());
        least(figures, &case.name, &goal, ratio(wall(tool), mine), times);
        let raw = ratio(wall(tool), wall(base));
        if raw.is_some_and(|raw| raw < times) {
            figures.push(Figure {
                case: case.name.clone(),
                goal: format!("(what {} reaches of that, which only copies)", base.name()),
                measured: format!("{} ×", cell(raw)),
                reached: None,
            });
        }
    }
    if kind == Kind::S3 {
        let cpu = |tool: Tool| case.of(tool.name()).and_then(Series::cpu);
        let gib = case.bytes as f64 / f64::from(1 << 30);
        let both = cpu(Tool::Curl).zip(cpu(Tool::B3sum)).map(|(a, b)| a + b);
        let name = format!(
            "CPU seconds per GiB, S3: {}",
            cell(cpu(OURS).map(|cpu| cpu / gib))
        );
        let goal = format!(
            "≤ 1.3 × (curl + b3sum): {}",
            cell(both.map(|cpu| cpu / gib))
        );
        most(figures, &name, &goal, ratio(cpu(OURS), both), 1.3, "×");
    }
    let pages = |of: fn(&crate::bench::residency::Change) -> u64| {
        let changes = ours?.samples.iter().filter_map(|s| s.pages.as_ref());
        changes.map(of).max().map(to_mib)
    };
    let name = format!("{}, page cache", case.name);
    most(
        figures,
        &name,
        "≤ 16 MiB more",
        pages(|c| c.more),
        16.0,
        "MiB",
    );
    most(
        figures,
        &name,
        "nothing evicted",
        pages(|c| c.evicted),
        0.0,
        "MiB",
    );
    jmx_part(figures, case, OURS);
}

/// Until the snapshot is there everything is JMX, but for a look at the storage.
fn jmx_part(figures: &mut Vec<Figure>, case: &Case, ours: Tool) {
    let Some(snapshot) = case.take_snapshot() else {
        return;
    };
    let until = |sample: &Sample| sample.until_snapshot;
    let jmx = case.of(ours.name()).and_then(|ours| ours.median(until));
    let beyond = jmx.map(|jmx| (jmx - snapshot) * 1000.0);
    let name = format!("{}, JMX part", case.name);
    let goal = format!("≤ 50 ms beyond takeSnapshot ({})", seconds(snapshot));
    most(figures, &name, &goal, beyond, 50.0, "ms");
}

fn nothing(figures: &mut Vec<Figure>, case: &Case) {
    let snapshot = case.take_snapshot().unwrap_or_default();
    let without = |tool: Tool| Some(case.of(tool.name())?.wall()? - snapshot);
    let ours = without(Tool::Agent(Agent::TouchAfter));
    for tool in [Tool::Medusa(Speed::Tuned), Tool::Esop] {
        let Some(theirs) = without(tool) else {
            continue;
        };
        let goal = format!("1/20 of {}, without takeSnapshot", tool.name());
        let name = format!("{}, --touch-after 24h", case.name);
        let reached = ours.map(|ours| ours <= theirs / 20.0);
        let measured = ours.map_or(String::new(), |ours| {
            format!(
                "1/{:.1} ({} of {})",
                theirs / ours,
                seconds(ours),
                seconds(theirs)
            )
        });
        figures.push(Figure {
            case: name,
            goal: format!("≤ {goal}"),
            measured,
            reached,
        });
        let lists = case.of(Tool::BareList.name()).and_then(Series::wall);
        let (what, least) = match (case.clear_snapshot(), lists) {
            (Some(clear), Some(lists)) => ("clearSnapshot and the bare lists take", clear + lists),
            (clear, _) => ("clearSnapshot alone takes", clear.unwrap_or_default()),
        };
        if least > theirs / 20.0 {
            figures.push(Figure {
                case: format!("{}, --touch-after 24h", case.name),
                goal: format!("(1/20 of {}; {what})", tool.name()),
                measured: format!("{}; {}", seconds(theirs / 20.0), seconds(least)),
                reached: None,
            });
        }
    }
    let bare = case.of(Tool::BareTouch.name()).and_then(Series::wall);
    // Snapshot, listing and manifest are no touching; what is left is.
    let ratio = without(OURS).zip(bare).map(|(ours, bare)| ours / bare);
    let name = format!("{}, touching all", case.name);
    let goal = "≤ 1.2 × the bare requests";
    match case.name == nothing_new::name(Kind::S3) {
        true => most(figures, &name, goal, ratio, 1.2, "×"),
        false => figures.push(Figure {
            case: name,
            goal: "(no figure; beside `touch` of all files)".into(),
            measured: format!("{} ×", cell(ratio)),
            reached: None,
        }),
    }
    jmx_part(figures, case, Tool::Agent(Agent::TouchAfter));
}

fn restored(figures: &mut Vec<Figure>, case: &Case) {
    let wall = |tool: &str| case.of(tool).and_then(Series::wall);
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let ours = wall(restore::OURS);
    let parts = wall(restore::COPY).zip(case.import());
    let goal = match parts {
        Some((copy, import)) => format!(
            "≤ 1.2 × ({} + import alone): {} + {}",
            restore::COPY,
            seconds(copy),
            seconds(import)
        ),
        None => format!("≤ 1.2 × ({} + import alone)", restore::COPY),
    };
    let both = parts.map(|(copy, import)| copy + import);
    most(figures, &case.name, &goal, ratio(ours, both), 1.2, "×");
    figures.push(Figure {
        case: case.name.clone(),
        goal: format!(
            "(beside {}: {})",
            restore::DURABLE,
            wall(restore::DURABLE).map_or(String::new(), seconds)
        ),
        measured: format!("{} ×", cell(ratio(ours, wall(restore::DURABLE)))),
        reached: None,
    });
    let theirs = ratio(wall(restore::MEDUSA_UP), ours);
    let goal = "≥ 3 × faster than Medusa's restore-node, tuned";
    least(figures, &case.name, goal, theirs, 3.0);
    figures.push(Figure {
        case: case.name.clone(),
        goal: "(the same without the start of Cassandra, which is down then)".into(),
        measured: format!("{} ×", cell(ratio(wall(restore::MEDUSA), ours))),
        reached: None,
    });
}

fn whole(figures: &mut Vec<Figure>, results: &Results) {
    let ours = results
        .cases
        .iter()
        .flat_map(|case| &case.series)
        .filter(|series| series.tool.starts_with(OURS.name()));
    let rss = ours.filter_map(Series::most_rss).max().map(to_mib);
    most(
        figures,
        "Peak memory in all cases",
        "≤ 64 MiB",
        rss,
        64.0,
        "MiB",
    );
}

fn reader_figures(figures: &mut Vec<Figure>, case: &Case) {
    let p99 = |name: &str| {
        case.of(name)?
            .median(|sample: &Sample| Some(sample.reader?.p99))
    };
    let ratio = |name: &str| Some(p99(name)? / control(case)?);
    let limited = Tool::Agent(Agent::Limited(0)).name();
    let name = "p99 of a reader, 50 MB/s";
    most(
        figures,
        name,
        "≤ 1.05 × the control",
        ratio(limited),
        1.05,
        "×",
    );
    for (name, of) in [
        ("p99 of a reader, no limit", OURS.name()),
        ("p99 of a reader, control against control", AGAIN),
    ] {
        let measured = match of == AGAIN {
            true => p99(AGAIN).zip(p99(CONTROL)).map(|(a, b)| a / b),
            false => ratio(of),
        };
        figures.push(Figure {
            case: name.into(),
            goal: "(no figure)".into(),
            measured: format!("{} ×", cell(measured)),
            reached: None,
        });
    }
}

/// The p99 of the control: the mean of both halves of the A/A pair.
pub fn control(case: &Case) -> Option<f64> {
    let p99 = |name: &str| {
        case.of(name)?
            .median(|sample: &Sample| Some(sample.reader?.p99))
    };
    Some(f64::midpoint(p99(CONTROL)?, p99(AGAIN)?))
}

fn most(
    figures: &mut Vec<Figure>,
    case: &str,
    goal: &str,
    measured: Option<f64>,
    limit: f64,
    unit: &str,
) {
    figures.push(Figure {
        case: case.into(),
        goal: goal.into(),
        measured: measured.map_or(String::new(), |value| {
            format!("{} {unit}", cell(Some(value)))
        }),
        reached: measured.map(|value| value <= limit),
    });
}

fn least(figures: &mut Vec<Figure>, case: &str, goal: &str, measured: Option<f64>, limit: f64) {
    figures.push(Figure {
        case: case.into(),
        goal: goal.into(),
        measured: measured.map_or(String::new(), |value| format!("{} ×", cell(Some(value)))),
        reached: measured.map(|value| value >= limit),
    });
}

fn to_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Cost;

    fn series(tool: Tool, wall: f64) -> Series {
        let cost = Cost {
            wall,
            cpu: wall,
            rss: 40 << 20,
        };
        let sample = Sample {
            cost,
            ..Sample::default()
        };
        Series {
            tool: tool.name().into(),
            command: String::new(),
            samples: vec![sample],
        }
    }

    fn results(name: &str, snapshot: f64, series: Vec<Series>) -> Results {
        let case = Case {
            name: name.into(),
            about: String::new(),
            series,
            bytes: 2 << 30,
            files: 800,
            snapshots: vec![(snapshot, 9.0)],
            imports: vec![0.5],
        };
        Results {
            facts: Vec::new(),
            repeats: 1,
            seconds: 1.0,
            cases: vec![case],
        }
    }

    fn reached(figures: &[Figure], goal: &str) -> Option<bool> {
        let figure = figures.iter().find(|figure| figure.goal.contains(goal));
        figure.and_then(|figure| figure.reached)
    }

    #[test]
    fn a_figure_is_reached_up_to_its_limit_and_not_beyond() {
        for (ours, curl, medusa) in [(1.1, true, true), (1.3, false, false)] {
            let tools = vec![
                series(OURS, ours),
                series(Tool::Curl, 1.0),
                series(Tool::B3sum, 0.5),
                series(Tool::Medusa(Speed::Tuned), 5.6),
            ];
            let figures = all(&results(new_data::name(Kind::S3), 0.1, tools));
            assert_eq!(reached(&figures, "1.1 × curl"), Some(curl));
            assert_eq!(reached(&figures, "5 × faster"), Some(medusa));
            assert_eq!(reached(&figures, "1.3 × (curl + b3sum)"), Some(true));
            assert_eq!(reached(&figures, "64 MiB"), Some(true));
            // What the bare copy itself does not reach is said beside it.
            let bare = figures
                .iter()
                .any(|it| it.goal.contains("what curl × 4 reaches"));
            assert!(!bare, "5.6 is more than 5");
            // Not measured: neither reached nor missed.
            assert_eq!(reached(&figures, "16 MiB more"), None);
        }
    }

    #[test]
    fn what_nobody_can_reach_is_said_beside_the_figure() {
        let measured = |results: &Results, goal: &str| {
            let figures = all(results);
            let found = figures.into_iter().find(|it| it.goal.contains(goal))?;
            assert_eq!(found.reached, None);
            Some(found.measured)
        };
        let tools = vec![
            series(OURS, 1.2),
            series(Tool::Curl, 1.0),
            series(Tool::Medusa(Speed::Tuned), 4.5),
        ];
        let copies = results(new_data::name(Kind::S3), 0.1, tools);
        let bare = measured(&copies, "what curl × 4 reaches").unwrap();
        assert!(bare.starts_with("4.5"), "{bare}");
        let tools = vec![
            series(Tool::Agent(Agent::TouchAfter), 0.6),
            series(Tool::Medusa(Speed::Tuned), 20.5),
        ];
        // A bare clearSnapshot takes 9 s here, and a twentieth of 20 s is one.
        let clears = results(nothing_new::name(Kind::S3), 0.5, tools);
        assert!(measured(&clears, "clearSnapshot alone").is_some());
        let tools = vec![
            series(Tool::Agent(Agent::TouchAfter), 0.6),
            series(Tool::BareList, 1.0),
            series(Tool::Medusa(Speed::Tuned), 190.5),
        ];
        let lists = results(nothing_new::name(Kind::S3), 0.5, tools);
        let both = measured(&lists, "clearSnapshot and the bare lists").unwrap();
        assert_eq!(both, "9.50 s; 10.00 s");
    }

    #[test]
    fn a_restore_stands_beside_the_download_with_the_import_and_beside_the_whole_of_medusa() {
        let of = |name: &str, wall: f64| Series {
            tool: name.into(),
            ..series(OURS, wall)
        };
        let figures = |ours: f64| {
            let tools = vec![
                of(restore::OURS, ours),
                of(restore::COPY, 2.0),
                of(restore::MEDUSA, 7.0),
                of(restore::MEDUSA_UP, 9.0),
            ];
            all(&results(restore::NAME, 0.0, tools))
        };
        // The import alone takes half a second here.
        assert_eq!(reached(&figures(3.0), "≤ 1.2 ×"), Some(true));
        assert_eq!(reached(&figures(3.1), "≤ 1.2 ×"), Some(false));
        assert_eq!(reached(&figures(3.0), "≥ 3 ×"), Some(true));
        assert_eq!(reached(&figures(3.1), "≥ 3 ×"), Some(false));
    }

    #[test]
    fn what_the_snapshot_itself_takes_is_subtracted_from_both() {
        let tools = vec![
            series(Tool::Agent(Agent::TouchAfter), 0.6),
            series(Tool::Medusa(Speed::Tuned), 2.6),
        ];
        let name = nothing_new::name(Kind::S3);
        let figures = all(&results(name, 0.5, tools.clone()));
        assert_eq!(reached(&figures, "1/20 of Medusa"), Some(true));
        let figures = all(&results(name, 0.4, tools));
        assert_eq!(reached(&figures, "1/20 of Medusa"), Some(false));
    }
}
