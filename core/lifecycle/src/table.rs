//! Prints the policy: the answer of every state to every verb, the steps of every operation, and
//! the diagram. The output is `docs/lifecycle.md`; a test compares it, so that a change of policy
//! is a diff in review.

use crate::admission::{Admission, admission};
use crate::outcomes::{Cell, Happens, Leads, outcomes};
use crate::recipe::{self, OnFailure};
use ostler_model::{State, StateKind, StepKind, Strength, Verb};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use strum::IntoEnumIterator;

/// The tables, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut out = String::new();
    admissions(&mut out);
    steps(&mut out);
    failures(&mut out);
    ways(&mut out);
    out
}

/// The end of each operation, for each of its steps and each event that may happen to that step.
fn ways(out: &mut String) {
    out.push_str(
        "\n## Where each step leads\n\nIf all else goes well: `running` is an operation that succeeds and leaves the VM running, `! running` one that fails \
         and leaves it so, `no: busy` a request that is refused while the operation goes on. A step that goes well, whose answer comes \
         late, whose answer never comes because the daemon is restarted, or that is sent again by `recover --retry`, leads on to the end: \
         the column *well*. *retry* and *unknown* last until the step's deadline. `recover --success` is about a step that has \
         succeeded. Each cell is walked by a test.\n\n| verb | from | files | step |",
    );
    let columns: Vec<Happens> = Happens::iter()
        .filter(|happens| {
            !matches!(happens, Happens::Late | Happens::NoAnswer | Happens::RecoverRetry)
        })
        .collect();
    for column in &columns {
        let word = if *column == Happens::Done { "well".to_owned() } else { column.to_string() };
        let _ = write!(out, " {word} |");
    }
    let _ = writeln!(out, "\n|---|---|---|---|{}", "---|".repeat(columns.len()));
    let cells = outcomes();
    let rows: Vec<Vec<&Cell>> =
        cells.chunk_by(|a, b| row(a) == row(b)).map(|row| row.iter().collect()).collect();
    let (own, shared): (Vec<_>, Vec<_>) = rows.iter().partition(|row| !row[0].shared);
    for row in &own {
        let same = |other: &&&Vec<&Cell>| {
            Cell { shared: true, at: other[0].at, ..*row[0] } == *other[0]
                && words(row) == words(other)
        };
        let files = if shared.iter().any(|other| same(&other)) { "own, shared" } else { "own" };
        line(out, row, files, &columns);
    }
    for row in shared {
        let same = |other: &&&Vec<&Cell>| {
            Cell { shared: false, at: other[0].at, ..*row[0] } == *other[0]
                && words(row) == words(other)
        };
        if !own.iter().any(|other| same(&other)) {
            line(out, row, "shared", &columns);
        }
    }
}

fn row(cell: &Cell) -> (Verb, State, Option<Verb>, bool, usize) {
    (cell.verb, cell.origin, cell.after, cell.shared, cell.at)
}

fn words(row: &[&Cell]) -> Vec<String> {
    row.iter().map(|cell| word(cell.leads)).collect()
}

fn word(leads: Leads) -> String {
    match leads {
        Leads::Succeeds(state) => state.to_string(),
        Leads::Fails(state) => format!("! {state}"),
        Leads::Refused(kind) => format!("no: {kind}"),
    }
}

fn line(out: &mut String, row: &[&Cell], files: &str, columns: &[Happens]) {
    let after = row[0].after.map_or_else(String::new, |verb| format!(" after {verb}"));
    let _ =
        write!(out, "| {} | {}{after} | {files} | {} |", row[0].verb, row[0].origin, row[0].step);
    for cell in row.iter().filter(|cell| columns.contains(&cell.happens)) {
        let _ = write!(out, " {} |", word(cell.leads));
    }
    out.push('\n');
}

fn admissions(out: &mut String) {
    out.push_str("## What a state of rest makes of a verb\n\n");
    out.push_str(
        "`B` begins an operation, `=` is so already, `o` begins only after a look that says off, `.` is refused.\n\n| verb |",
    );
    let states: Vec<State> =
        State::iter().filter(|state| state.kind() != StateKind::Transient).collect();
    for state in &states {
        let _ = write!(out, " {} |", state.short());
    }
    out.push_str(" while another operation runs |\n|---|");
    out.push_str(&"---|".repeat(states.len() + 1));
    out.push('\n');
    for verb in Verb::iter() {
        let _ = write!(out, "| {verb} |");
        for state in &states {
            let mark = match admission(*state, verb) {
                Admission::Begin => "B",
                Admission::Already => "=",
                Admission::Refuse => ".",
                Admission::BeginIfOff => "o",
            };
            let _ = write!(out, " {mark} |");
        }
        let busy = match verb.strength() {
            Strength::Forget => "overtakes all",
            Strength::Delete if verb == Verb::Delete => "overtakes all but forget, a recreate too",
            Strength::Delete => "overtakes all but delete and forget",
            Strength::Hard => "overtakes a graceful verb that still asks the guest",
            Strength::Graceful | Strength::Plain if verb.is_recovery() => "acts on its step",
            Strength::Graceful | Strength::Plain if verb.is_record_only() => "goes beside it",
            Strength::Graceful | Strength::Plain if verb == Verb::Boot => "sends its boot again",
            Strength::Graceful | Strength::Plain => "refused: busy",
        };
        let _ = writeln!(out, " {busy} |");
    }
}

fn steps(out: &mut String) {
    out.push_str("\n## Steps\n\n| step | state shown | driver call | class | must be seen | a look proves it | undone by |\n|---|---|---|---|---|---|---|\n");
    for kind in StepKind::iter() {
        let undo = recipe::undo(kind).map_or_else(|| "-".to_owned(), |step| step.to_string());
        let call =
            if kind == StepKind::Switch { "none".to_owned() } else { kind.call().to_string() };
        let proven = if kind.proven_by_look() { "yes" } else { "no: sent again" };
        let _ = writeln!(
            out,
            "| {kind} | {} | {} | {} | {} | {proven} | {undo} |",
            shown(kind),
            call,
            kind.class(),
            kind.goal()
        );
    }
}

/// The states that a step can show, over all verbs.
fn shown(kind: StepKind) -> String {
    let states: BTreeSet<State> = Verb::iter().map(|verb| recipe::shown(verb, kind)).collect();
    states.iter().map(State::to_string).collect::<Vec<_>>().join(", ")
}

fn failures(out: &mut String) {
    out.push_str("\n## What the failure of a step leads to\n\n`settle`: rests where a look finds it; `undo`: rolled back, then settled; `fail`: rests in failed; `insist`: tried again for ever; `skip`: goes on without, what is left is swept when its host is seen.\n\n| verb | ends in |");
    for kind in StepKind::iter() {
        let _ = write!(out, " {kind} |");
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(StepKind::iter().count()));
    out.push('\n');
    for verb in Verb::iter().filter(|verb| !verb.is_recovery()) {
        let _ = write!(
            out,
            "| {verb} | {} |",
            recipe::ends(verb)
                .map_or_else(|| "where it began".to_owned(), |state| state.to_string())
        );
        for kind in StepKind::iter() {
            let word = match recipe::on_failure(verb, kind) {
                OnFailure::Settle => "settle",
                OnFailure::Undo => "undo",
                OnFailure::Fail => "fail",
                OnFailure::Insist => "insist",
                OnFailure::Skip => "skip",
            };
            let _ = write!(out, " {word} |");
        }
        out.push('\n');
    }
}

/// The diagram, in Mermaid: rest states, and the operations between them.
#[must_use]
pub fn diagram() -> String {
    let mut out = String::from(
        "```mermaid\nstateDiagram-v2\n    [*] --> pending: create\n    [*] --> hold: create --hold\n",
    );
    for verb in
        Verb::iter().filter(|verb| !verb.is_recovery() && verb.strength() != Strength::Delete)
    {
        for from in State::iter().filter(|state| state.kind() == StateKind::Rest) {
            if matches!(admission(from, verb), Admission::Begin | Admission::BeginIfOff) {
                let to = recipe::ends_in(verb, from);
                let _ = writeln!(out, "    {from} --> {to}: {verb}");
            }
        }
    }
    out.push_str("    done --> [*]\n```\n\n`delete` leads from every state to done, `delete-recreate` to pending; `recover` carries a failed operation on.\n");
    out
}
