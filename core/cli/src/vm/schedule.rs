//! `ostler vm schedule`, `schedules`, `reschedule`: actions that are done later.

use super::several;
use super::verb_args::{self, Hard, sent};
use super::verbs::{Ask, Request, Waiting};
use crate::Failure;
use crate::context::Context;
use crate::out::Row;
use crate::table::{Cell, Tone};
use crate::watch::Watch;
use clap::{ArgGroup, Args, Subcommand};
use ostler_api::{RescheduleBody, ScheduleBody, ScheduleEntry};
use serde_json::{Value, json};

/// Explains how a time is written.
macro_rules! forms {
    () => {
        "\
WHEN is one of
  2026-12-01T02:00         once, when clocks of the zone show this (2026-12-01T02:00Z: at that moment)
  every 6h                 again and again, that far apart (m, h, d)
  daily 02:00              each day
  weekly mon,thu 02:00     on days of the week
  monthly 1,15,last 02:00  on days of the month
  yearly 12-24 02:00       on a day of the year
  cron 0 2 * * 1-5         minute, hour, day of month, month, day of week"
    };
}

/// The same with examples.
const EXAMPLES: &str = concat!(
    forms!(),
    "

Examples:
  ostler vm schedule web snapshot-create --at 'daily 02:00' --zone Europe/Berlin
  ostler vm schedule web migrate h2 --live --at 2026-12-01T02:00
  ostler vm schedule 1..5 poweroff --hard --at 'weekly fri 20:00' --times 4"
);

/// When the action is done.
#[derive(Debug, Clone, Default, Args)]
struct When {
    /// When: 'daily 02:00', 'every 6h', 2026-12-01T02:00, ... (see below)
    #[arg(long, value_name = "WHEN", global = true)]
    at: Option<String>,
    /// The time zone of the times given, by its IANA name [default: UTC]
    #[arg(long, global = true)]
    zone: Option<String>,
    /// If it is late: 'skip 1h' (not done if later than that) or run-once [default: skip 1h]
    #[arg(long, value_name = "WHAT", global = true)]
    misfire: Option<String>,
    /// Not before this moment; `every` counts from it
    #[arg(long, value_name = "MOMENT", global = true)]
    from: Option<String>,
    /// Not after this moment
    #[arg(long, value_name = "MOMENT", global = true)]
    until: Option<String>,
    /// How often at most
    #[arg(long, value_name = "NUMBER", global = true)]
    times: Option<u32>,
    /// Change nothing and tell what would happen
    #[arg(long, global = true)]
    dry_run: bool,
    /// Only if the VM still has this version
    #[arg(long, value_name = "VERSION", global = true, conflicts_with = "dry_run")]
    if_version: Option<u64>,
}

/// An action to schedule.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub struct ScheduleArgs {
    /// Its id or name, or a range such as 1..5
    vm: String,
    #[command(flatten)]
    when: When,
    #[command(subcommand)]
    later: Later,
}

/// The verbs that can be scheduled.
#[derive(Debug, Subcommand)]
enum Later {
    /// Places it on a host and starts it
    Deploy(verb_args::Deploy),
    /// Saves its memory to a file; its files stay on the host
    Suspend,
    /// Saves its memory, brings memory and disks off the host and frees the host
    Stop,
    /// Starts it, or has it go on where it was saved
    Resume(verb_args::Resume),
    /// Powers it off; its files stay on the host
    Poweroff(Hard),
    /// Powers it off, brings its disks off the host and frees the host
    Undeploy(Hard),
    /// Powers it off and DELETES it with its disks; nobody is asked then
    Shutdown(Hard),
    /// Asks the guest to reboot
    Reboot(Hard),
    /// Keeps the scheduler away from it
    Hold,
    /// Lets the scheduler have it
    Release,
    /// DELETES it with its disks at once; nobody is asked then
    Delete(verb_args::Delete),
    /// Retries a start that hangs
    Boot,
    /// Moves it to another host
    Migrate(verb_args::Move),
    /// Has the scheduler move it to another host
    Resched,
    /// Takes back what `resched` asked for
    Unresched,
    /// Plugs a disk in
    DiskAttach(verb_args::DiskAttach),
    /// Unplugs a disk and DELETES it
    DiskDetach(verb_args::DiskDetach),
    /// Plugs a network card in
    NicAttach(verb_args::NicAttach),
    /// Unplugs a network card
    NicDetach(verb_args::NicDetach),
    /// Makes a system snapshot
    SnapshotCreate(verb_args::SnapshotCreate),
    /// Goes back to a system snapshot
    SnapshotRevert(verb_args::SnapshotRevert),
    /// Removes a system snapshot
    SnapshotDelete(verb_args::SnapshotDelete),
    /// Saves a disk as a new image
    #[command(alias = "save-disk-as")]
    DiskSnapshot(verb_args::DiskSnapshot),
    /// Takes a `disk-snapshot` back that waits for the VM to be shut down
    DiskSnapshotCancel(verb_args::DiskSnapshotCancel),
    /// Changes its CPUs or memory
    Resize(verb_args::Resize),
}

impl Later {
    /// The verb and its body.
    fn asked(&self) -> Result<(&'static str, Value), Failure> {
        let ask: &dyn Ask = match self {
            Self::Suspend => return Ok(("suspend", json!({}))),
            Self::Stop => return Ok(("stop", json!({}))),
            Self::Hold => return Ok(("hold", json!({}))),
            Self::Release => return Ok(("release", json!({}))),
            Self::Boot => return Ok(("boot", json!({}))),
            Self::Resched => return Ok(("resched", json!({}))),
            Self::Unresched => return Ok(("unresched", json!({}))),
            Self::Poweroff(how) => return Ok((how.or("poweroff", "poweroff-hard"), json!({}))),
            Self::Undeploy(how) => return Ok((how.or("undeploy", "undeploy-hard"), json!({}))),
            Self::Shutdown(how) => return Ok((how.or("shutdown", "shutdown-hard"), json!({}))),
            Self::Reboot(how) => return Ok((how.or("reboot", "reboot-hard"), json!({}))),
            Self::Resume(how) => how,
            Self::Deploy(how) => how,
            Self::Delete(how) => how,
            Self::Migrate(how) => how,
            Self::DiskAttach(how) => how,
            Self::DiskDetach(how) => how,
            Self::NicAttach(how) => how,
            Self::NicDetach(how) => how,
            Self::SnapshotCreate(how) => how,
            Self::SnapshotRevert(how) => how,
            Self::SnapshotDelete(how) => how,
            Self::DiskSnapshot(how) => how,
            Self::DiskSnapshotCancel(how) => how,
            Self::Resize(how) => how,
        };
        Ok((ask.verb(), ask.body()?))
    }
}

impl ScheduleArgs {
    pub(super) fn request(&self) -> Request {
        let waiting = Waiting {
            dry_run: self.when.dry_run,
            if_version: self.when.if_version,
            ..Waiting::default()
        };
        Request::new("schedule", self.body(), vec![self.vm.clone()], waiting)
    }

    fn body(&self) -> Result<Value, Failure> {
        let Some(when) = self.when.at.clone() else {
            return Err(Failure::usage("it is not said when")
                .hint("say --at 'daily 02:00', or `ostler vm schedule --help`"));
        };
        let (verb, args) = self.later.asked()?;
        let When { zone, misfire, from, until, times, .. } = self.when.clone();
        sent(&ScheduleBody {
            verb: verb.to_owned(),
            args: Some(args),
            when,
            zone,
            misfire,
            from,
            until,
            times,
        })
    }
}

/// The options of `reschedule` that change something.
const CHANGES: [&str; 7] = ["at", "zone", "misfire", "from", "until", "times", "without_end"];

/// The changes of a scheduled action. Values that are not given stay.
#[derive(Debug, Args)]
#[command(
    after_help = forms!(),
    override_usage = "ostler vm reschedule <VM> <ID> [--at <WHEN>] [--zone <ZONE>] [OPTIONS]",
    group(ArgGroup::new("change").required(true).multiple(true).args(CHANGES))
)]
pub struct Reschedule {
    /// The id of the scheduled action; `vm schedules` lists them
    id: u32,
    /// When: 'daily 02:00', 'every 6h', 2026-12-01T02:00, ... (see below)
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// The time zone of the times given
    #[arg(long)]
    zone: Option<String>,
    /// If it is late: 'skip 1h' or run-once
    #[arg(long, value_name = "WHAT")]
    misfire: Option<String>,
    /// Not before this moment
    #[arg(long, value_name = "MOMENT")]
    from: Option<String>,
    /// Not after this moment
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// How often at most, from now on
    #[arg(long, value_name = "NUMBER")]
    times: Option<u32>,
    /// Take --until and --times away
    #[arg(long, conflicts_with_all = ["until", "times"])]
    without_end: bool,
}

impl Ask for Reschedule {
    fn verb(&self) -> &'static str {
        "reschedule"
    }

    fn body(&self) -> Result<Value, Failure> {
        let gone = self.without_end;
        sent(&RescheduleBody {
            id: self.id,
            when: self.at.clone(),
            zone: self.zone.clone(),
            misfire: self.misfire.clone(),
            from: self.from.clone().map(Some),
            until: if gone { Some(None) } else { self.until.clone().map(Some) },
            times: if gone { Some(None) } else { self.times.map(Some) },
        })
    }
}

/// Selects the VMs.
#[derive(Debug, Args)]
pub struct SchedulesArgs {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    #[command(flatten)]
    watch: Watch,
}

/// Prints the list.
pub(super) async fn list(cx: &Context, args: SchedulesArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    several::list(cx, &args.vms, &args.watch, async |vm| {
        client.vm(vm).await.map(|vm| (vm.id, vm.schedules))
    })
    .await
}

/// The arguments of a verb on one line.
pub(super) fn with(args: &Value) -> String {
    let Some(fields) = args.as_object() else { return String::new() };
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.iter().map(|(key, value)| format!("{key}={}", word(value))).collect::<Vec<_>>().join(" ")
}

/// How the action went last.
pub(super) fn last(entry: &ScheduleEntry) -> Cell {
    match entry.last.as_str() {
        "done" => Cell::toned("done", Tone::Good),
        word => Cell::state(word),
    }
}

impl Row for ScheduleEntry {
    const HEADINGS: &'static [&'static str] =
        &["ID", "VERB", "WITH", "WHEN", "ZONE", "NEXT", "FIRED", "LAST", "WHY"];
    const WIDER: &'static [&'static str] =
        &["LAST AT", "OPERATION", "MISFIRE", "FROM", "UNTIL", "TIMES", "BY"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.into(),
            Cell::from(&self.verb),
            Cell::maybe(Some(with(&self.args)).filter(|text| !text.is_empty())),
            Cell::from(&self.when),
            Cell::from(&self.zone),
            self.next_local.as_ref().map_or_else(|| "over".into(), Cell::from),
            self.fired.into(),
            last(self),
            Cell::maybe(self.why.as_ref()),
            Cell::maybe(self.last_at),
            Cell::maybe(self.operation),
            Cell::from(&self.misfire),
            Cell::maybe(self.from),
            Cell::maybe(self.until),
            Cell::maybe(self.times),
            Cell::from(&self.by),
        ]
    }

    fn handle(&self) -> String {
        self.id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    fn body(line: &[&str]) -> serde_json::Value {
        let cli = Cli::try_parse_from(["ostler", "vm"].iter().chain(line))
            .unwrap_or_else(|err| panic!("{line:?}: {err}"));
        let Command::Vm(command) = cli.command else { panic!("about VMs") };
        super::super::request(&command).expect("a verb").body.expect("a body")
    }

    #[test]
    fn a_verb_is_typed_as_it_is_typed_now() {
        let plain = body(&[
            "schedule",
            "web",
            "poweroff",
            "--hard",
            "--at",
            "daily 02:00",
            "--zone",
            "Europe/Berlin",
        ]);
        assert_eq!(
            plain,
            json!({"verb": "poweroff-hard", "args": {}, "when": "daily 02:00", "zone": "Europe/Berlin"})
        );
        let before = body(&[
            "schedule", "web", "--at", "every 6h", "--times", "3", "migrate", "h2", "--live",
        ]);
        assert_eq!(
            before,
            json!({"verb": "migrate-live", "args": {"host": "h2"}, "when": "every 6h", "times": 3})
        );
        let snapshot =
            body(&["schedule", "web", "snapshot-create", "nightly", "--at", "cron 0 2 * * 1-5"]);
        assert_eq!(snapshot["args"], json!({"name": "nightly"}));
    }

    #[test]
    fn what_is_left_out_stays() {
        assert_eq!(
            body(&["reschedule", "web", "3", "--at", "daily 03:00"]),
            json!({"id": 3, "when": "daily 03:00"})
        );
        assert_eq!(
            body(&["reschedule", "web", "3", "--without-end"]),
            json!({"id": 3, "until": null, "times": null})
        );
        assert!(Cli::try_parse_from(["ostler", "vm", "reschedule", "web", "3"]).is_err());
    }
}
