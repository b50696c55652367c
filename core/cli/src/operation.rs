//! `ostler operation`.

use crate::context::Context;
use crate::out::Row;
use crate::retry::patiently;
use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{age, complaint, moment, now, took};
use crate::vm::{several, wait};
use crate::watch::{self, Watch};
use crate::{Exit, Failure};
use clap::Subcommand;
use ostler_api::{DriverCall, DriverCalls, Operation, Span, Time};

/// Operations.
#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// Lists the operations of VMs, the newest first
    #[command(alias = "ls")]
    List {
        /// Ids, names, or ranges such as 1..5
        #[arg(required = true, value_name = "VM")]
        vms: Vec<String>,
        #[command(flatten)]
        watch: Watch,
    },
    /// Shows the calls of an operation's drivers, and which commands they ran, files they touched and
    /// requests they sent. Only drivers that are components are recorded, in the daemon's memory
    Calls {
        /// Its id
        operation: u64,
    },
    /// Shows all about an operation
    #[command(aliases = ["info", "get", "describe"])]
    Show {
        /// Its id
        operation: u64,
        /// Wait for its end; exit code 1 if it failed
        #[arg(long, conflicts_with = "watch")]
        wait: bool,
        /// How long to wait at most
        #[arg(long, default_value = wait::TIMEOUT, value_name = "TIME")]
        timeout: Span,
        #[command(flatten)]
        watch: Watch,
    },
}

fn outcome(operation: &Operation) -> Cell {
    match &operation.outcome {
        Some(outcome) => Cell::state(outcome),
        None => Cell::toned("running", Tone::Busy),
    }
}

fn duration(now: Time, began: Time, ended: Option<Time>) -> String {
    took(ended.unwrap_or(now).since(began))
}

impl Row for Operation {
    const HEADINGS: &'static [&'static str] =
        &["ID", "VM", "VERB", "OUTCOME", "STEP", "TOOK", "AGE"];
    const WIDER: &'static [&'static str] = &["BY", "BEGAN", "ERROR"];

    fn cells(&self) -> Vec<Cell> {
        let now = now();
        vec![
            self.id.into(),
            self.vm.into(),
            Cell::from(&self.verb),
            outcome(self),
            Cell::maybe(
                self.failed_at.as_ref().or_else(|| self.steps.last().map(|step| &step.kind)),
            ),
            duration(now, self.began, self.ended).into(),
            age(now, self.began).into(),
            Cell::from(&self.by),
            self.began.into(),
            Cell::maybe(self.error.as_ref().map(complaint)),
        ]
    }

    fn handle(&self) -> String {
        self.id.to_string()
    }
}

fn page(cx: &Context, operation: &Operation) -> String {
    let now = now();
    let mut page = Page::new(cx.out.colour);
    page.section("Information")
        .pair("ID", operation.id)
        .pair("VM", operation.vm)
        .pair("Verb", &operation.verb);
    page.pair("Outcome", outcome(operation))
        .pair("By", &operation.by)
        .pair("Began", moment(now, operation.began));
    page.pair_if("Ended", operation.ended.map(|ended| moment(now, ended)));
    page.pair("Took", duration(now, operation.began, operation.ended));
    page.pair_if("Overtaken by", operation.superseded_by);
    page.pair_if("Failed at", operation.failed_at.as_ref());
    if let Some(error) = &operation.error {
        page.pair("Error", Cell::toned(complaint(error), Tone::Bad));
    }
    let row = |step: &ostler_api::Step| {
        let state = match step.ended {
            None => Cell::toned("running", Tone::Busy),
            Some(_) if step.failed => Cell::toned("failed", Tone::Bad),
            Some(_) => Cell::toned("ok", Tone::Good),
        };
        let took = duration(now, step.began, step.ended).into();
        vec![
            step.number.into(),
            Cell::from(&if step.undoing {
                format!("{} (undo)", step.kind)
            } else {
                step.kind.clone()
            }),
            state,
            took,
            step.attempts.into(),
            Cell::maybe(step.error.as_ref().map(complaint)),
        ]
    };
    let rows = operation.steps.iter().map(row).collect();
    page.section("Steps").table(
        &["NUMBER", "KIND", "STATE", "TOOK", "SENT", "ERROR"],
        rows,
        "none",
    );
    page.done()
}

/// A duration of microseconds, in the unit of people.
fn short(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// The calls of an operation, each driver's own call after those that it made.
fn calls_page(cx: &Context, calls: &DriverCalls) -> String {
    let mut page = Page::new(cx.out.colour);
    let row = |call: &DriverCall| {
        let function = call.function.as_ref().map(|function| format!("  {function}"));
        let tone = if call.failed { Tone::Bad } else { Tone::Good };
        vec![
            call.began.into(),
            Cell::from(&call.driver),
            Cell::maybe(call.host.as_ref()),
            Cell::from(function.as_ref().unwrap_or(&call.call)),
            Cell::from(short(call.took_us)),
            Cell::toned(&call.answer, tone),
            Cell::from(&call.what),
        ]
    };
    let rows = calls.calls.iter().map(row).collect();
    let none = "none: its drivers are built in, or it ran before the daemon started, or newer \
                operations took its place";
    page.section("Calls").table(
        &["BEGAN", "DRIVER", "HOST", "CALL", "TOOK", "ANSWER", "WHAT"],
        rows,
        none,
    );
    if calls.left_out > 0 {
        page.line(&format!("{} calls in the middle were left out", calls.left_out));
    }
    let told = calls.calls.iter().filter_map(|call| Some((call, call.detail.as_ref()?)));
    for (call, detail) in told {
        let function = call.function.as_ref().unwrap_or(&call.call);
        page.section(&format!("{function}: {}", call.answer)).block(detail);
    }
    page.done()
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: OperationCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        OperationCommand::List { vms, watch } => {
            let mut worst = Exit::Ok;
            watch::run(cx, &watch, async || {
                let seen =
                    several::look(&vms, async |vm| Ok(client.operations_of(vm).await?.operations))
                        .await?;
                worst = seen.worst;
                cx.out.rows(&seen.found.concat())
            })
            .await?;
            several::ended(worst)
        }
        OperationCommand::Calls { operation } => {
            let calls = client.calls_of(operation).await?;
            cx.out.write(&cx.out.one(&calls, &operation.to_string(), || calls_page(cx, &calls))?)
        }
        OperationCommand::Show { operation, wait: true, timeout, .. } => {
            let found = patiently(|| client.operation(operation, None)).await?;
            let waited = wait::for_end(&client, found, wait::Deadline::after(timeout.duration()));
            let Some(ended) = wait::unless_interrupted(waited).await else {
                crate::out::aside(&format!("\noperation {operation} goes on"));
                return Err(Failure::silent(Exit::Interrupted));
            };
            let ended = ended?;
            cx.out.write(&cx.out.one(&ended, &ended.id.to_string(), || page(cx, &ended))?)?;
            match ended.outcome.as_deref() {
                Some("succeeded") => Ok(()),
                None => Err(Failure::new(
                    Exit::TimedOut,
                    format!("operation {} has not ended after {timeout}; it goes on", ended.id),
                )),
                Some("superseded") => Err(Failure::silent(Exit::Conflict)),
                Some(_) => Err(Failure::silent(Exit::Refused)),
            }
        }
        OperationCommand::Show { operation, watch, .. } => {
            watch::run(cx, &watch, async || {
                let operation = client.operation(operation, None).await?;
                cx.out.one(&operation, &operation.id.to_string(), || page(cx, &operation))
            })
            .await
        }
    }
}
