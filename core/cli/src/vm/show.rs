//! `ostler vm show`.

use super::{schedule, several};
use crate::context::Context;
use crate::out::Row;
use crate::pairs::line;
use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{complaint, moment, now, took};
use crate::watch::{self, Watch};
use crate::{Exit, Failure};
use clap::Args;
use ostler_api::{
    Client, ClientError, Counters, Disk, ScheduleEntry, SnapshotAdvice, SnapshotEntry, Time, Vm,
};

/// Selects the VMs.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    #[command(flatten)]
    watch: Watch,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: ShowArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let mut worst = Exit::Ok;
    watch::run(cx, &args.watch, async || {
        let seen = several::look(&args.vms, async |vm| {
            let vm = client.vm(vm).await?;
            // JSON and YAML have the VM as the API has it. Only the page for people has the extras.
            let extras =
                if cx.out.for_people() { Some(Extras::ask(&client, &vm).await) } else { None };
            Ok((vm, extras))
        })
        .await?;
        worst = seen.worst;
        let read =
            |(vm, extras): &(Vm, Option<Extras>)| page(cx.out.colour, now(), vm, extras.as_ref());
        match seen.found.as_slice() {
            [one] if seen.alone => cx.out.one(&one.0, &one.0.id.to_string(), || read(one)),
            all => {
                let vms: Vec<&Vm> = all.iter().map(|(vm, _)| vm).collect();
                let handles: Vec<String> = vms.iter().map(|vm| vm.id.to_string()).collect();
                cx.out.one(&vms, &handles.join("\n"), || {
                    all.iter().map(read).collect::<Vec<_>>().join("\n")
                })
            }
        }
    })
    .await?;
    several::ended(worst)
}

/// Details for the page that the VM itself does not have.
struct Extras {
    advice: Result<SnapshotAdvice, ClientError>,
    counters: Result<Counters, ClientError>,
}

impl Extras {
    async fn ask(client: &Client, vm: &Vm) -> Self {
        let id = vm.id.to_string();
        let (advice, counters) = tokio::join!(client.snapshots(&id), client.counters(&id));
        Self { advice, counters }
    }
}

/// The page about a VM.
fn page(colour: bool, now: Time, vm: &Vm, extras: Option<&Extras>) -> String {
    let mut page = Page::new(colour);
    information(&mut page, now, vm);
    placement(&mut page, now, vm);
    operation(&mut page, now, vm);
    failure(&mut page, now, vm);
    monitoring(&mut page, extras.map(|extras| &extras.counters));
    disks(&mut page, vm);
    let nic = |nic: &ostler_api::NicNow| vec![Cell::from(&nic.bridge), Cell::from(&nic.mac)];
    page.section("NICs").table(&["BRIDGE", "MAC"], vm.nics.iter().map(nic).collect(), "none");
    snapshots(&mut page, vm, extras.map(|extras| &extras.advice));
    schedules(&mut page, vm);
    history(&mut page, vm);
    if !vm.spec.user_data.is_empty() {
        page.section("User data").block(&vm.spec.user_data);
    }
    page.done()
}

fn information(page: &mut Page, now: Time, vm: &Vm) {
    page.section("Information")
        .pair("ID", vm.id)
        .pair("Name", &vm.name)
        .state("State", &vm.state)
        .pair("Reason", reason(&vm.reason));
    page.pair("Since", moment(now, vm.since))
        .pair_if("Running since", vm.running_since.map(|since| moment(now, since)));
    page.pair_if("Last seen", vm.seen.as_ref())
        .pair("Owner", &vm.owner)
        .pair("Created", moment(now, vm.created));
    page.pair_if("CPUs reserved", vm.spec.cpu)
        .pair_if("Virtual CPUs", vm.spec.vcpus)
        .pair("Memory", vm.spec.memory);
    page.pair_if("Can grow to", headroom(vm));
    page.pair_if("Labels", Some(line(&vm.spec.labels)).filter(|labels| !labels.is_empty()));
    page.pair_if("Wants host", vm.spec.host.as_ref())
        .pair_if("Graphics", vm.spec.graphics.as_ref());
    let boot = &vm.spec.boot;
    page.pair_if("Firmware", boot.firmware.as_ref())
        .pair_if("Kernel", boot.kernel.as_ref())
        .pair_if("Initrd", boot.initrd.as_ref());
    page.pair_if("Command line", Some(&boot.cmdline).filter(|cmdline| !cmdline.is_empty()));
    page.pair("UUID", &vm.uuid).pair("Version", vm.version);
}

/// The reason in words. Words from later daemons stay as they are.
fn reason(word: &str) -> &str {
    match word {
        "asked" => "it was asked for",
        "guest" => "the guest switched itself off",
        "destroyed-outside" => "switched off outside of Ostler",
        "started-outside" => "started outside of Ostler",
        "external" => "paused at the hypervisor by somebody",
        "io-error" => "a disk failed",
        "cannot-ask" => "its host cannot be reached",
        "step-failed" => "a step failed",
        "seen-again" => "it is seen again",
        other => other,
    }
}

fn headroom(vm: &Vm) -> Option<String> {
    let vcpus = vm.spec.headroom.vcpus.map(|vcpus| format!("{vcpus} virtual CPUs"));
    let memory = vm.spec.headroom.memory.map(|memory| memory.to_string());
    let parts: Vec<String> = vcpus.into_iter().chain(memory).collect();
    (!parts.is_empty()).then(|| parts.join(", ") + " while it runs")
}

fn placement(page: &mut Page, now: Time, vm: &Vm) {
    page.section("Placement");
    match &vm.placement {
        None => {
            page.line("on no host");
        }
        Some(place) => {
            page.pair("Host", format!("{} ({})", place.host, place.host_id))
                .pair("Driver", &place.driver);
            page.pair("Domain", &place.domain)
                .pair("Generation", place.generation)
                .pair("Since", moment(now, place.since));
        }
    }
    if let Some(moving) = &vm.moving {
        let what = if moving.direction == "from" { "Moving from" } else { "Moving to" };
        page.pair(
            what,
            format!("{} ({}), generation {}", moving.host, moving.host_id, moving.generation),
        );
    }
    page.pair_if("Datastore", vm.datastore.as_ref());
    page.pair_if(
        "Rescheduling",
        vm.resched.then_some("the scheduler is asked to move it to another host"),
    );
    for left in &vm.leftovers {
        let what = if left.files { "domain and files" } else { "domain" };
        page.pair(
            "Left behind",
            format!("perhaps {what} on {} ({}); swept when it is seen", left.host, left.host_id),
        );
    }
}

fn operation(page: &mut Page, now: Time, vm: &Vm) {
    let Some(operation) = &vm.operation else { return };
    page.section("Operation")
        .pair("ID", operation.id)
        .pair("Verb", &operation.verb)
        .pair_if("Step", operation.step.as_ref());
    page.pair(
        "Progress",
        format!(
            "{} of {} steps{}",
            operation.done,
            operation.of,
            if operation.undoing { ", rolling back" } else { "" }
        ),
    );
    page.pair("Phase", &operation.phase).pair("Attempt", operation.attempt);
    page.pair_if("Deadline", operation.deadline.map(|deadline| moment(now, deadline)));
    if let Some(error) = &operation.error {
        page.pair("Last error", Cell::toned(complaint(error), Tone::Bad));
    }
}

fn failure(page: &mut Page, now: Time, vm: &Vm) {
    let Some(failure) = &vm.failure else { return };
    page.section("Failure").pair("Verb", &failure.verb).pair_if("Step", failure.step.as_ref());
    page.pair("Error", Cell::toned(complaint(&failure.error), Tone::Bad))
        .pair("When", moment(now, failure.when));
    page.pair("Operation", failure.operation).pair("What next", format!("ostler vm why {}", vm.id));
}

fn disks(page: &mut Page, vm: &Vm) {
    let row = |disk: &Disk| {
        let there = vm.disks.iter().find(|there| there.name == disk.name);
        let from = match (&disk.image, disk.size, disk.swap, &disk.file) {
            (Some(image), ..) => format!("image {image}"),
            (None, Some(size), ..) => format!("empty, {size}"),
            (None, None, Some(swap), _) => format!("swap, {swap}"),
            (None, None, None, Some(_)) => "adopted".to_owned(),
            (None, None, None, None) => "-".to_owned(),
        };
        let format = there.map(|there| there.format.to_string()).or_else(|| disk.format.clone());
        let access = if disk.read_only { "read" } else { "write" };
        let becomes = there.and_then(|there| there.becomes.as_ref());
        vec![
            Cell::from(&disk.name),
            from.into(),
            Cell::maybe(format),
            access.into(),
            Cell::maybe(becomes),
            Cell::maybe(there.map(|there| &there.file)),
        ]
    };
    let rows = vm.spec.disks.iter().map(row).collect();
    page.section("Disks").table(
        &["NAME", "FROM", "FORMAT", "ACCESS", "BECOMES", "FILE"],
        rows,
        "none",
    );
}

/// The resources that the VM uses, as its hypervisor counts them. Nothing is printed if its host
/// cannot be asked; `ostler vm why` reports that.
fn monitoring(page: &mut Page, counters: Option<&Result<Counters, ClientError>>) {
    let Some(Ok(counters)) = counters else { return };
    if !counters.counted {
        return;
    }
    page.section("Monitoring");
    page.pair("CPU time", took(counters.cpu_ns / 1_000_000));
    page.pair(
        "Host memory",
        format!("{} MiB, that of the hypervisor's process included", counters.memory_kib / 1024),
    );
    page.pair(
        "Disk",
        format!(
            "{} KiB read, {} KiB written",
            counters.disk_read / 1024,
            counters.disk_written / 1024
        ),
    );
    page.pair(
        "Network",
        format!("{} KiB in, {} KiB out", counters.net_rx / 1024, counters.net_tx / 1024),
    );
}

fn snapshots(page: &mut Page, vm: &Vm, advice: Option<&Result<SnapshotAdvice, ClientError>>) {
    page.section("Snapshots").table(
        SnapshotEntry::HEADINGS,
        vm.snapshots.iter().map(Row::cells).collect(),
        "none",
    );
    match advice {
        Some(Ok(advice)) if advice.allowed => {
            page.line(&format!("a new one may be made now ({})", advice.rules))
        }
        Some(Ok(advice)) => {
            let why = advice.refused.as_deref().unwrap_or("no reason given");
            page.line(&format!("no new one now: {why} ({})", advice.rules))
        }
        Some(Err(err)) => page.line(&format!("the rules could not be asked: {err}")),
        None => page,
    };
}

fn schedules(page: &mut Page, vm: &Vm) {
    if vm.schedules.is_empty() {
        return;
    }
    let row = |entry: &ScheduleEntry| {
        vec![
            entry.id.into(),
            Cell::from(&entry.verb),
            Cell::maybe(Some(schedule::with(&entry.args)).filter(|text| !text.is_empty())),
            format!("{} ({})", entry.when, entry.zone).into(),
            entry.next_local.as_ref().map_or_else(|| "over".into(), Cell::from),
            entry.fired.into(),
            schedule::last(entry),
            Cell::maybe(entry.why.as_ref()),
        ]
    };
    let headings = ["ID", "VERB", "WITH", "WHEN", "NEXT", "FIRED", "LAST", "WHY"];
    page.section("Schedules").table(&headings, vm.schedules.iter().map(row).collect(), "none");
}

/// The hosts that the VM was on, how long, and what it held there. Accounting needs this.
fn history(page: &mut Page, vm: &Vm) {
    let entry = |entry: &ostler_api::HistoryEntry| {
        let to = entry.to.map_or_else(|| "now".to_owned(), |to| to.to_string());
        vec![
            Cell::from(&entry.host),
            entry.generation.into(),
            entry.from.into(),
            Cell::maybe(entry.begun_by.as_ref()),
            to.into(),
            Cell::maybe(entry.ended_by.as_ref()),
            entry.cpu.into(),
            entry.memory.into(),
        ]
    };
    let headings = ["HOST", "GENERATION", "FROM", "BEGUN BY", "TO", "ENDED BY", "CPU", "MEMORY"];
    page.section("History").table(
        &headings,
        vm.history.iter().map(entry).collect(),
        "it was on no host yet",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn sample() -> Vm {
        let spec = json!({
            "name": "web", "memory": "96MiB", "cpu": 0.5, "headroom": {"memory": "1GiB"}, "labels": {"tier": "a"}, "user_data": "#cloud\nx: 1\n",
            "disks": [{"name": "vda", "image": "debian"}, {"name": "vdb", "size": "1GiB", "read_only": true}],
            "nics": [{"bridge": "br0"}],
        });
        let at = "1970-01-01T00:00:10.000Z";
        let vm = json!({
            "id": 7, "uuid": "u", "name": "web", "owner": "admin", "state": "failed", "since": at, "reason": "step-failed",
            "created": at, "version": 12, "spec": spec, "datastore": "system",
            "placement": {"host_id": 1, "host": "alpha", "driver": "sim", "domain": "ostler-7", "generation": 2, "since": at},
            "moving": {"direction": "to", "host_id": 2, "host": "beta", "generation": 3, "since": at},
            "leftovers": [{"host_id": 3, "host": "gamma", "driver": "sim", "generation": 1, "files": true}],
            "disks": [{"name": "vda", "file": "vms/7/vda.qcow2", "format": "qcow2", "image": 1, "becomes": "golden"}],
            "nics": [{"bridge": "br0", "mac": "52:54:00:00:00:07"}],
            "schedules": [{"id": 0, "verb": "migrate-live", "args": {"host": "beta"}, "when": "daily 02:00", "zone": "Europe/Berlin",
                "misfire": "skip 1h", "by": "admin", "next": at, "next_local": "1970-01-01T02:00:00+01:00", "fired": 2,
                "last": "failed", "why": "busy"}],
            "failure": {"operation": 31, "verb": "resume", "step": "start", "when": at,
                "error": {"kind": "refused", "code": "no-memory", "detail": "not enough memory\u{1b}[2J"}},
            "snapshots": [{"name": "s1", "label": "before", "made": at, "hidden": false}],
            "history": [{"host": "alpha", "from": at, "begun_by": "deploy", "generation": 2, "cpu": 0.5, "memory": "96MiB"}],
        });
        serde_json::from_value(vm).expect("a VM")
    }

    /// What a rule set says that allows no further snapshot.
    fn extras() -> Extras {
        let advice = SnapshotAdvice {
            snapshots: Vec::new(),
            rules: "kvm".to_owned(),
            allowed: false,
            refused: Some("8 are the most".to_owned()),
        };
        Extras { advice: Ok(advice), counters: Ok(Counters::default()) }
    }

    #[test]
    fn a_vm_in_full() {
        let text = page(false, Time(70_000), &sample(), Some(&extras()));
        expect![[r#"
            INFORMATION
              ID             7
              Name           web
              State          failed
              Reason         a step failed
              Since          1970-01-01T00:00:10.000Z (1m ago)
              Owner          admin
              Created        1970-01-01T00:00:10.000Z (1m ago)
              CPUs reserved  0.5
              Memory         96MiB
              Can grow to    1GiB while it runs
              Labels         tier=a
              UUID           u
              Version        12

            PLACEMENT
              Host         alpha (1)
              Driver       sim
              Domain       ostler-7
              Generation   2
              Since        1970-01-01T00:00:10.000Z (1m ago)
              Moving to    beta (2), generation 3
              Datastore    system
              Left behind  perhaps domain and files on gamma (3); swept when it is seen

            FAILURE
              Verb       resume
              Step       start
              Error      not enough memory�[2J [no-memory]
              When       1970-01-01T00:00:10.000Z (1m ago)
              Operation  31
              What next  ostler vm why 7

            DISKS
              NAME  FROM          FORMAT  ACCESS  BECOMES  FILE
              vda   image debian  qcow2   write   golden   vms/7/vda.qcow2
              vdb   empty, 1GiB   -       read    -        -

            NICS
              BRIDGE  MAC
              br0     52:54:00:00:00:07

            SNAPSHOTS
              NAME  LABEL   MADE                      OFFERED
              s1    before  1970-01-01T00:00:10.000Z  yes
              no new one now: 8 are the most (kvm)

            SCHEDULES
              ID  VERB          WITH       WHEN                         NEXT                       FIRED  LAST    WHY
              0   migrate-live  host=beta  daily 02:00 (Europe/Berlin)  1970-01-01T02:00:00+01:00  2      failed  busy

            HISTORY
              HOST   GENERATION  FROM                      BEGUN BY  TO   ENDED BY  CPU  MEMORY
              alpha  2           1970-01-01T00:00:10.000Z  deploy    now  -         0.5  96MiB

            USER DATA
              #cloud
              x: 1
        "#]]
        .assert_eq(&text);
    }
}
