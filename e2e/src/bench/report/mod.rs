//! The document: Markdown with a chart beside it.

mod chart;
mod figures;
mod text;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::cases::manifest;
use super::cases::reader::{self, AGAIN, CONTROL};
use super::results::{Case, Results, Series};
use text::{cell, mib, ms, seconds};

/// Begins what tests measured, which is written by hand and kept.
const BY_TESTS: &str = "\n## Measured by tests\n";

/// Writes the document and its chart.
pub fn write(results: &Results, document: &Path) -> Result<()> {
    let chart = document.with_extension("svg");
    let name = chart.file_name().context("a document without a name")?;
    let mut text = markdown(results, &name.to_string_lossy())?;
    let before = std::fs::read_to_string(document).unwrap_or_default();
    if let Some(at) = before.find(BY_TESTS) {
        text.push_str(&before[at..]);
    }
    std::fs::write(document, text).with_context(|| document.display().to_string())?;
    std::fs::write(&chart, chart::svg(results)).with_context(|| chart.display().to_string())
}

fn markdown(results: &Results, chart: &str) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "# Benchmarks\n\n\
         Written by `cargo side-by-side`, in one run of {:.0} minutes; run it again on your machine. Medians of {} \
         runs, in which the tools take turns. Whole processes, measured from outside: CPU is user and system time of \
         the tool and of all that it started, memory the peak of its largest process. The S3 server and Cassandra are \
         on the same machine and their time is not in the tool's.\n\n![Seconds of each tool]({chart})\n",
        (results.seconds / 60.0).ceil(),
        results.repeats
    )?;
    for (name, value) in &results.facts {
        writeln!(out, "- {name}: {value}")?;
    }
    out.push_str("\n## Figures\n\n| case | figure to reach | measured | |\n|---|---|---|---|\n");
    for figure in figures::all(results) {
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            figure.case,
            figure.goal,
            figure.measured,
            match figure.reached {
                Some(true) => "reached",
                Some(false) => "**not reached**",
                None => "",
            }
        )?;
    }
    for case in &results.cases {
        section(&mut out, case)?;
    }
    Ok(out)
}

fn section(out: &mut String, case: &Case) -> Result<()> {
    writeln!(
        out,
        "\n## {}\n\n{} {} files, {} MiB.",
        case.name,
        case.about,
        case.files,
        case.bytes >> 20
    )?;
    if let Some((taken, cleared)) = case.take_snapshot().zip(case.clear_snapshot()) {
        writeln!(
            out,
            "Bare calls over JMX: `takeSnapshot` {}, `clearSnapshot` {}.",
            seconds(taken),
            seconds(cleared)
        )?;
    }
    if let Some(import) = case.import() {
        writeln!(
            out,
            "Bare calls of `importNewSSTables`, one a table: {}.",
            seconds(import)
        )?;
    }
    out.push('\n');
    match case.name.as_str() {
        reader::NAME => readers(out, case)?,
        manifest::NAME => costs(out, case, false)?,
        _ => costs(out, case, true)?,
    }
    phases(out, case)?;
    requests(out, case)?;
    out.push_str("\n```\n");
    for series in &case.series {
        if !series.command.is_empty() {
            writeln!(out, "# {}\n{}", series.tool, series.command)?;
        }
    }
    out.push_str("```\n");
    Ok(())
}

fn costs(out: &mut String, case: &Case, pages: bool) -> Result<()> {
    let pages = pages
        && case
            .series
            .iter()
            .any(|s| s.samples.iter().any(|s| s.pages.is_some()));
    out.push_str("| tool | runs | wall s | from – to | CPU s | peak memory MiB |");
    out.push_str(if pages {
        " data more in page cache MiB | evicted MiB |\n|---|---|---|---|---|---|---|---|\n"
    } else {
        "\n|---|---|---|---|---|---|\n"
    });
    for series in &case.series {
        let walls = series.samples.iter().map(|sample| sample.cost.wall);
        let (least, most) = walls.fold((f64::MAX, 0.0_f64), |(least, most), wall| {
            (least.min(wall), most.max(wall))
        });
        write!(
            out,
            "| {} | {} | {} | {least:.2} – {most:.2} | {} | {} |",
            series.tool,
            series.samples.len(),
            cell(series.wall()),
            cell(series.cpu()),
            mib(series.most_rss())
        )?;
        if pages {
            write!(
                out,
                " {} | {} |",
                worst(series, |c| c.more),
                worst(series, |c| c.evicted)
            )?;
        }
        out.push('\n');
    }
    Ok(())
}

/// The most of any run, in MiB.
fn worst(series: &Series, of: impl Fn(&super::residency::Change) -> u64) -> String {
    let changes = series.samples.iter().filter_map(|s| s.pages.as_ref());
    mib(changes.map(of).max())
}

fn readers(out: &mut String, case: &Case) -> Result<()> {
    out.push_str(
        "| beside | runs | p50 ms | p99 ms | p99 from – to | p99 / control |\n|---|---|---|---|---|---|\n",
    );
    let p99 = |series: &Series| series.median(|sample| Some(sample.reader?.p99));
    let control = figures::control(case);
    for series in &case.series {
        let all = series.samples.iter().filter_map(|s| Some(s.reader?.p99));
        let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), ms| {
            (least.min(ms), most.max(ms))
        });
        let ratio = p99(series).zip(control).map(|(p99, control)| p99 / control);
        writeln!(
            out,
            "| {} | {} | {} | {} | {least:.2} – {most:.2} | {} |",
            series.tool,
            series.samples.len(),
            ms(series.median(|sample| Some(sample.reader?.p50))),
            ms(p99(series)),
            cell(ratio)
        )?;
    }
    writeln!(
        out,
        "\nThe control is the mean of \"{CONTROL}\" and \"{AGAIN}\": what these two differ by is noise."
    )?;
    Ok(())
}

/// Where the time of ours goes, by what it tells itself: medians.
fn phases(out: &mut String, case: &Case) -> Result<()> {
    let mut lines = String::new();
    for series in &case.series {
        let Some(first) = series.samples.first() else {
            continue;
        };
        let named = first.phases.iter().filter_map(|(name, _)| {
            let took = series.median(|sample| sample.phase(name))?;
            Some(format!("{name} {}", seconds(took)))
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            writeln!(lines, "| {} | {} |", series.tool, named.join(", "))?;
        }
    }
    if !lines.is_empty() {
        write!(out, "\n| tool | its phases |\n|---|---|\n{lines}")?;
    }
    Ok(())
}

/// What the S3 server was asked for, run for run the same or nearly so.
fn requests(out: &mut String, case: &Case) -> Result<()> {
    let asked = case.series.iter().filter_map(|series| {
        let last = series.samples.last()?;
        (!last.requests.is_empty()).then_some((&series.tool, &last.requests))
    });
    let lines: Vec<_> = asked
        .map(|(tool, requests)| {
            let kinds: Vec<_> = requests
                .iter()
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            format!("| {tool} | {} |", kinds.join(", "))
        })
        .collect();
    if !lines.is_empty() {
        writeln!(
            out,
            "\n| tool | requests that the S3 server answered |\n|---|---|\n{}",
            lines.join("\n")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_measured_stays_when_the_document_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("benchmarks.md");
        let by_tests = format!("{BY_TESTS}A thousand nodes: 12 s.\n");
        std::fs::write(&document, format!("# Old\n{by_tests}")).unwrap();
        let results = Results {
            facts: Vec::new(),
            repeats: 1,
            seconds: 1.0,
            cases: Vec::new(),
        };
        for _ in 0..2 {
            write(&results, &document).unwrap();
            let text = std::fs::read_to_string(&document).unwrap();
            assert!(text.starts_with("# Benchmarks") && text.ends_with(&by_tests));
            assert_eq!(text.matches(BY_TESTS).count(), 1);
        }
    }
}
