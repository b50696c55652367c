//! How fast and how healthy a driver is, as tables.

use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{span, took_us};
use ostler_api::{Driver, FunctionFigures};

/// The most rows of the table of hosts. `-o json` has all.
const ROWS_MAX: usize = 20;

/// The errors of a function, with their kinds.
fn errors(of: &FunctionFigures) -> Cell {
    let kinds: Vec<String> =
        of.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if kinds.is_empty() { Cell::from("-") } else { Cell::toned(kinds.join(", "), Tone::Bad) }
}

fn cells(of: &FunctionFigures) -> Vec<Cell> {
    let time = |us: Option<u64>| Cell::maybe(us.map(took_us));
    let recent = of.recent.as_ref();
    vec![
        Cell::from(&of.function),
        of.calls.into(),
        errors(of),
        Cell::maybe(recent.map(|recent| recent.calls)),
        time(recent.map(|recent| recent.p50_us)),
        time(recent.map(|recent| recent.p95_us)),
        time(recent.map(|recent| recent.p99_us)),
        time(recent.map(|recent| recent.largest_us)),
    ]
}

const HEADINGS: [&str; 8] =
    ["FUNCTION", "CALLS", "ERRORS", "RECENT", "P50", "P95", "P99", "LARGEST"];

/// The tables of the page.
pub(super) fn shown(page: &mut Page, driver: &Driver) {
    let Some(figures) = &driver.figures else { return };
    if figures.functions.is_empty() {
        return;
    }
    let window = span(figures.window_s.saturating_mul(1000));
    page.section("Functions").table(
        &HEADINGS,
        figures.functions.iter().map(cells).collect(),
        "none",
    );
    let times = format!(
        "CALLS and ERRORS are since the daemon started; RECENT and the times are of the last {window}"
    );
    page.line(&times);
    let hosts = figures.hosts.iter();
    let mut rows: Vec<_> = hosts
        .flat_map(|at| at.functions.iter().map(move |function| (&at.host, function)))
        .collect();
    // The slowest ones are what people look for.
    rows.sort_by_key(|(_, of)| {
        std::cmp::Reverse(of.recent.as_ref().map_or(0, |recent| recent.p95_us))
    });
    let all = rows.len();
    rows.truncate(ROWS_MAX);
    let row =
        |(host, of): (&String, &FunctionFigures)| [vec![Cell::from(host)], cells(of)].concat();
    let headings = [&["HOST"][..], &HEADINGS].concat();
    page.section("Functions on hosts").table(
        &headings,
        rows.into_iter().map(row).collect(),
        "none",
    );
    if all > ROWS_MAX {
        page.line(&format!("the slowest {ROWS_MAX} of {all} by their P95; `-o json` has all"));
    }
    if figures.not_kept > 0 {
        let count = figures.not_kept;
        page.line(&format!("{count} calls are not told by host: too many hosts are in use"));
    }
}
