//! Reads the body of each verb, checks it, and converts it into the engine's types before the
//! engine is asked.

use super::lookup;
use crate::convert::{self, Unfit, new_name, parse, word};
use crate::problem::{ApiError, Handled, Thing};
use ostler_api as wire;
use ostler_api::{Misfit, decode};
use ostler_model::{
    Args, DatastoreKind, DatastoreName, DiskSource, Hint, HostId, ImageName, ScheduleId, Verb, VmId,
};
use ostler_store::Reader;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The bodies of all verbs, for the OpenAPI document.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // never built: each verb reads its own
pub(crate) enum AnyBody {
    /// Verbs that are not named below. `deploy` takes `host` and `enforce`, the recoveries take
    /// `force`, all others nothing.
    Plain(wire::ActionBody),
    /// `migrate`, `migrate-live`, `migrate-poweroff`, `migrate-poweroff-hard`.
    Migrate(wire::MigrateBody),
    /// `disk-attach`.
    DiskAttach(wire::DiskAttachBody),
    /// `disk-detach`.
    DiskDetach(wire::DiskDetachBody),
    /// `nic-attach`.
    NicAttach(wire::NicAttachBody),
    /// `nic-detach`.
    NicDetach(wire::NicDetachBody),
    /// `snapshot-create`.
    SnapshotCreate(wire::SnapshotCreateBody),
    /// `snapshot-revert`, `snapshot-delete`.
    Snapshot(wire::SnapshotBody),
    /// `disk-snapshot`, `disk-snapshot-live`.
    DiskSnapshot(wire::DiskSnapshotBody),
    /// `disk-snapshot-cancel`.
    DiskSnapshotCancel(wire::DiskSnapshotCancelBody),
    /// `resize`.
    Resize(wire::ResizeBody),
    /// `update`.
    Update(wire::UpdateBody),
    /// `rename`.
    Rename(wire::RenameBody),
    /// `schedule`.
    Schedule(wire::ScheduleBody),
    /// `unschedule`.
    Unschedule(wire::UnscheduleBody),
    /// `reschedule`.
    Reschedule(wire::RescheduleBody),
    /// `forget`.
    Forget(wire::ForgetBody),
    /// `resched`, `unresched`.
    Nothing(wire::NothingBody),
}

/// The content of a verb's body.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) args: Args,
    pub(crate) host: Option<HostId>,
    pub(crate) enforce: bool,
    pub(crate) force: bool,
}

impl From<Args> for Asked {
    fn from(args: Args) -> Self {
        Self { args, ..Self::default() }
    }
}

/// Reads the body of `verb`.
pub(crate) fn asked(
    reader: &Reader,
    vm: VmId,
    verb: Verb,
    body: Value,
    by: &str,
) -> Handled<Asked> {
    match verb {
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => {
            migrate(reader, verb, &fits::<wire::MigrateBody>(body)?)
        }
        Verb::Resched | Verb::Unresched => fits(body).map(nothing),
        Verb::DiskAttach => disk_attach(reader, &fits(body)?),
        Verb::DiskDetach => {
            let body: wire::DiskDetachBody = fits(body)?;
            Ok(Args::Disk { name: parse("name", &body.name)? }.into())
        }
        Verb::NicAttach => nic_attach(fits(body)?),
        Verb::NicDetach => {
            let body: wire::NicDetachBody = fits(body)?;
            Ok(Args::Nic { mac: parse("mac", &body.mac)? }.into())
        }
        Verb::SnapshotCreate => {
            let body: wire::SnapshotCreateBody = fits(body)?;
            Ok(Args::NewSnapshot { label: body.name.unwrap_or_default() }.into())
        }
        Verb::SnapshotRevert | Verb::SnapshotDelete => {
            let body: wire::SnapshotBody = fits(body)?;
            Ok(Args::Snapshot { name: body.name }.into())
        }
        Verb::DiskSnapshot | Verb::DiskSnapshotLive => disk_snapshot(reader, &fits(body)?),
        Verb::DiskSnapshotCancel => {
            let body: wire::DiskSnapshotCancelBody = fits(body)?;
            Ok(Args::Disk { name: parse("disk", &body.disk)? }.into())
        }
        Verb::Resize => resize(&fits(body)?),
        Verb::Update => fits(body).map(update),
        Verb::Rename => {
            let body: wire::RenameBody = fits(body)?;
            Ok(Args::Name { name: new_name("name", &body.name)? }.into())
        }
        Verb::Schedule => schedule(reader, vm, &fits(body)?, by),
        Verb::Unschedule => {
            let body: wire::UnscheduleBody = fits(body)?;
            Ok(Args::Schedule { id: ScheduleId(body.id) }.into())
        }
        Verb::Reschedule => reschedule(reader, vm, &fits(body)?),
        Verb::Forget => fits(body).map(forget),
        Verb::Deploy => plain(reader, verb, &fits(body)?, &["host", "enforce"]),
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            plain(reader, verb, &fits(body)?, &["force"])
        }
        Verb::Hold
        | Verb::Release
        | Verb::Suspend
        | Verb::Stop
        | Verb::Resume
        | Verb::ResumeCold
        | Verb::Boot
        | Verb::Adopt => plain(reader, verb, &fits(body)?, &[]),
        Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard
        | Verb::Reboot
        | Verb::RebootHard => plain(reader, verb, &fits(body)?, &[]),
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::DeleteRecreate => {
            plain(reader, verb, &fits(body)?, &[])
        }
    }
}

fn nothing(_: wire::NothingBody) -> Asked {
    Asked::default()
}

fn forget(body: wire::ForgetBody) -> Asked {
    Asked { force: body.force, ..Asked::default() }
}

fn fits<T: DeserializeOwned>(body: Value) -> Handled<T> {
    if !body.is_object() {
        let detail = "the body must be a JSON object".to_owned();
        return Err(Misfit { path: String::new(), detail, nearest: None }.into());
    }
    Ok(decode(body)?)
}

/// Reads the body of a verb that has none of its own. `takes` names the fields that the verb takes;
/// any other field that asks for something is refused, because it would have no effect. `false`
/// asks for nothing: clients send it with every verb.
fn plain(reader: &Reader, verb: Verb, body: &wire::ActionBody, takes: &[&str]) -> Handled<Asked> {
    let given = [("host", body.host.is_some()), ("enforce", body.enforce), ("force", body.force)];
    if let Some((field, _)) =
        given.into_iter().find(|(field, given)| *given && !takes.contains(field))
    {
        return Err(
            Unfit::new(field, format!("is not for {verb}, and would have no effect")).into()
        );
    }
    let host = body
        .host
        .as_deref()
        .map(|host| lookup::host(reader, host))
        .transpose()?
        .map(|host| host.id);
    Ok(Asked { args: Args::None, host, enforce: body.enforce, force: body.force })
}

fn migrate(reader: &Reader, verb: Verb, body: &wire::MigrateBody) -> Handled<Asked> {
    let wire::MigrateBody { enforce, fenced, storage_moved, .. } = *body;
    if (fenced || storage_moved) && verb != Verb::Migrate {
        let field = if fenced { "fenced" } else { "storage_moved" };
        return Err(Unfit::new(
            field,
            format!("is for migrate; {verb} needs the host that the VM is on"),
        )
        .into());
    }
    let host = Some(lookup::host(reader, &body.host)?.id);
    Ok(Asked { args: Args::Migrate { fenced, storage_moved }, host, enforce, force: false })
}

fn disk_attach(reader: &Reader, body: &wire::DiskAttachBody) -> Handled<Asked> {
    let source = match (&body.image, body.size, body.swap) {
        (Some(image), size, None) => DiskSource::Image {
            image: image_name(reader, "image", image)?,
            size_mib: size.map(|size| size.0),
        },
        (None, Some(size), None) => DiskSource::Blank { size_mib: size.0 },
        (None, None, Some(swap)) => DiskSource::Swap { size_mib: swap.0 },
        (None, None, None) => {
            return Err(Unfit::new("image", convert::ONE_CONTENT).into());
        }
        (Some(_) | None, Some(_) | None, Some(_)) => {
            return Err(Unfit::new("swap", convert::ONE_CONTENT).into());
        }
    };
    Ok(Args::NewDisk {
        name: body.name.as_deref().map(|name| parse("name", name)).transpose()?,
        format: convert::format_or_usual("format", body.format.as_deref(), &source)?,
        source,
        read_only: body.read_only,
    }
    .into())
}

fn nic_attach(body: wire::NicAttachBody) -> Handled<Asked> {
    let nic = wire::Nic { bridge: body.bridge, mac: body.mac };
    Ok(Args::NewNic(convert::nic_from_wire("", &nic)?).into())
}

fn update(body: wire::UpdateBody) -> Asked {
    Args::UserData { text: body.user_data }.into()
}

/// An image by name or id. A name is not looked up here. The lifecycle refuses it if there is no
/// such image, and for a scheduled action the image may be made later.
fn image_name(reader: &Reader, field: &str, which: &str) -> Handled<ImageName> {
    if lookup::is_id(which) {
        return Ok(lookup::image(reader, which)?.name);
    }
    Ok(parse(field, which)?)
}

fn disk_snapshot(reader: &Reader, body: &wire::DiskSnapshotBody) -> Handled<Asked> {
    let datastore =
        body.datastore.as_deref().map(|which| image_datastore(reader, which)).transpose()?;
    Ok(Args::NewImage {
        disk: parse("disk", &body.disk)?,
        image: new_name("image", &body.image)?,
        datastore,
    }
    .into())
}

fn image_datastore(reader: &Reader, which: &str) -> Handled<DatastoreName> {
    let found = lookup::datastore(reader, which)?;
    if found.kind == DatastoreKind::Image {
        return Ok(found.name);
    }
    let why = format!("{} is a system datastore; images live in image datastores", found.name);
    Err(ApiError::unusable("datastore", &why))
}

fn resize(body: &wire::ResizeBody) -> Handled<Asked> {
    if body.cpu.is_none() && body.vcpus.is_none() && body.memory.is_none() {
        return Err(Unfit::new("cpu", "give at least one of cpu, vcpus and memory").into());
    }
    let cpu_milli = body.cpu.map(convert::cpu_from_wire).transpose()?;
    let args =
        Args::Size { cpu_milli, vcpus: body.vcpus, memory_mib: body.memory.map(|size| size.0) };
    Ok(Asked { enforce: body.enforce, force: body.force, ..Asked::from(args) })
}

fn schedule(reader: &Reader, vm: VmId, body: &wire::ScheduleBody, by: &str) -> Handled<Asked> {
    let verb: Verb = word("verb", &body.verb)?;
    let later = if matches!(verb, Verb::Schedule | Verb::Unschedule | Verb::Reschedule) {
        // The lifecycle refuses to schedule these verbs, so the body for them is not read.
        Asked::default()
    } else {
        let args = body.args.clone().unwrap_or_else(|| json!({}));
        let later = asked(reader, vm, verb, args, by).map_err(|error| error.inside("args"))?;
        stated_now(&later)?;
        later
    };
    let planned = convert::schedule_from_wire(body, verb, later.args, later.host, by)?;
    Ok(Args::NewSchedule(Box::new(planned)).into())
}

/// Refuses what a scheduled action cannot state ahead: only a person who looks at the host at that
/// time can say that it is fenced, that the storage was moved, or that force is right.
fn stated_now(later: &Asked) -> Handled<()> {
    let (fenced, moved) = (later.args.fenced(), later.args.storage_moved());
    for (given, field) in
        [(fenced, "args.fenced"), (moved, "args.storage_moved"), (later.force, "args.force")]
    {
        if given {
            return Err(
                Unfit::new(field, "cannot be stated ahead: ask for it when it is so").into()
            );
        }
    }
    if later.enforce && later.host.is_none() {
        return Err(Unfit::new(
            "args.enforce",
            "is not kept: only where a scheduled action names a host, that host's capacity counts",
        )
        .into());
    }
    Ok(())
}

fn reschedule(reader: &Reader, vm: VmId, body: &wire::RescheduleBody) -> Handled<Asked> {
    let id = ScheduleId(body.id);
    let record = reader.vm(vm)?.ok_or_else(|| ApiError::not_found(Thing::Vm, &vm.to_string()))?;
    let Some(known) = record.schedules.iter().find(|planned| planned.id() == id) else {
        let error = ApiError::unusable("id", &format!("VM {vm} has no scheduled action {id}"));
        return Err(error.advise(&Hint::ListSchedules, Some((vm, Verb::Reschedule))));
    };
    Ok(Args::Reschedule { id, planned: Box::new(convert::reschedule(known, body)?) }.into())
}
