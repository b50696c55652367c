//! Scheduled actions.

use super::vm::Names;
use super::{Unfit, said, time};
use ostler_api as wire;
use ostler_model::{
    Args, DiskSource, HostId, InvalidSchedule, Moment, Planned, Schedule, ScheduleId,
    ScheduleState, TimeZoneName, Timestamp, Verb,
};
use serde::Serialize;
use serde_json::{Value, json};

fn unfit(error: InvalidSchedule) -> Unfit {
    Unfit::new(error.field, error.problem)
}

/// Reads `from` or `until`. Both are written like `when`: with an offset, or as local time in the
/// zone.
fn moment(field: &str, text: &str, zone: &TimeZoneName) -> Result<Timestamp, Unfit> {
    let at = text.parse::<Moment>().and_then(|moment| moment.resolve(zone));
    at.map_err(|error| Unfit::new(field, error.problem))
}

/// Makes a scheduled action from a request. The lifecycle checks that it will ever be due, and that
/// its verb may wait.
pub(crate) fn schedule_from_wire(
    body: &wire::ScheduleBody,
    verb: Verb,
    args: Args,
    host: Option<HostId>,
    by: &str,
) -> Result<Planned, Unfit> {
    let when = body.when.parse().map_err(unfit)?;
    let zone =
        body.zone.as_deref().map_or(Ok(TimeZoneName::default()), str::parse).map_err(unfit)?;
    let mut schedule = Schedule::new(ScheduleId::default(), verb, when, by);
    if let Some(misfire) = &body.misfire {
        schedule.misfire = misfire.parse().map_err(unfit)?;
    }
    schedule.from = body.from.as_deref().map(|text| moment("from", text, &zone)).transpose()?;
    schedule.until = body.until.as_deref().map(|text| moment("until", text, &zone)).transpose()?;
    schedule.times = body.times;
    schedule.zone = zone;
    Ok(Planned { schedule, args, host, retry_at: None })
}

/// Changes a scheduled action. Fields that are not given stay.
pub(crate) fn reschedule(known: &Planned, body: &wire::RescheduleBody) -> Result<Planned, Unfit> {
    let mut planned = known.clone();
    let schedule = &mut planned.schedule;
    if let Some(when) = &body.when {
        schedule.when = when.parse().map_err(unfit)?;
    }
    if let Some(zone) = &body.zone {
        schedule.zone = zone.parse().map_err(unfit)?;
    }
    if let Some(misfire) = &body.misfire {
        schedule.misfire = misfire.parse().map_err(unfit)?;
    }
    if let Some(from) = &body.from {
        schedule.from =
            from.as_deref().map(|text| moment("from", text, &schedule.zone)).transpose()?;
    }
    if let Some(until) = &body.until {
        schedule.until =
            until.as_deref().map(|text| moment("until", text, &schedule.zone)).transpose()?;
    }
    if let Some(times) = body.times {
        schedule.times = times;
    }
    // The lifecycle makes the action anew, and counts from 0.
    schedule.fired = 0;
    Ok(planned)
}

/// A scheduled action, as it is sent.
pub(crate) fn schedule(planned: &Planned, names: &Names) -> wire::ScheduleEntry {
    let schedule = &planned.schedule;
    let (last, last_at, operation, why) = match &schedule.state {
        ScheduleState::Waiting => ("waiting", None, None, None),
        ScheduleState::Running { at, operation } => ("running", Some(*at), Some(*operation), None),
        ScheduleState::Done { at, operation } => ("done", Some(*at), Some(*operation), None),
        ScheduleState::Failed { at, .. } => {
            ("failed", Some(*at), None, names.not_done.get(&schedule.id).cloned())
        }
    };
    wire::ScheduleEntry {
        id: schedule.id.0,
        verb: said(schedule.verb),
        args: body_of(planned, names),
        when: schedule.when.to_string(),
        zone: schedule.zone.to_string(),
        misfire: schedule.misfire.to_string(),
        from: schedule.from.map(time),
        until: schedule.until.map(time),
        times: schedule.times,
        by: schedule.by.clone(),
        next: schedule.next.map(time),
        next_local: schedule.next.map(|next| schedule.zone.show(next)),
        retry_at: planned.retry_at.map(time),
        fired: schedule.fired,
        last: last.to_owned(),
        last_at: last_at.map(time),
        operation: operation.map(|operation| operation.0),
        why,
    }
}

/// The body of the verb, as a client would send it.
fn body_of(planned: &Planned, names: &Names) -> Value {
    let verb = planned.schedule.verb;
    match &planned.args {
        Args::None => {
            planned.host.map_or_else(|| json!({}), |host| json!({ "host": names.host(host) }))
        }
        Args::Migrate { fenced, storage_moved } => sent(&wire::MigrateBody {
            host: planned.host.map(|host| names.host(host)).unwrap_or_default(),
            enforce: false,
            fenced: *fenced,
            storage_moved: *storage_moved,
        }),
        Args::NewDisk { name, source, format, read_only } => {
            let bare = wire::DiskAttachBody {
                name: name.as_ref().map(ToString::to_string),
                format: Some(format.to_string()),
                read_only: *read_only,
                ..wire::DiskAttachBody::default()
            };
            sent(&match source {
                DiskSource::Image { image, size_mib } => wire::DiskAttachBody {
                    image: Some(image.to_string()),
                    size: size_mib.map(wire::Size),
                    ..bare
                },
                DiskSource::Blank { size_mib } => {
                    wire::DiskAttachBody { size: Some(wire::Size(*size_mib)), ..bare }
                }
                DiskSource::Swap { size_mib } => {
                    wire::DiskAttachBody { swap: Some(wire::Size(*size_mib)), ..bare }
                }
                // A client cannot ask for such a disk: it comes only with an adopted domain.
                DiskSource::File { .. } => bare,
            })
        }
        Args::Disk { name } if verb == Verb::DiskSnapshotCancel => json!({ "disk": name.as_str() }),
        Args::Disk { name } => json!({ "name": name.as_str() }),
        Args::NewNic(nic) => sent(&wire::NicAttachBody {
            bridge: nic.bridge.clone(),
            mac: nic.mac.as_ref().map(ToString::to_string),
        }),
        Args::Nic { mac } => json!({ "mac": mac.as_str() }),
        Args::NewSnapshot { label } => sent(&wire::SnapshotCreateBody {
            name: Some(label.clone()).filter(|label| !label.is_empty()),
        }),
        Args::Snapshot { name } => json!({ "name": name }),
        Args::NewImage { disk, image, datastore } => sent(&wire::DiskSnapshotBody {
            disk: disk.to_string(),
            image: image.to_string(),
            datastore: datastore.as_ref().map(ToString::to_string),
        }),
        Args::Size { cpu_milli, vcpus, memory_mib } => sent(&wire::ResizeBody {
            cpu: cpu_milli.map(|milli| wire::CpuMilli(milli.into())),
            vcpus: *vcpus,
            memory: memory_mib.map(wire::Size),
            enforce: false,
            force: false,
        }),
        Args::UserData { text } => json!({ "user_data": text }),
        Args::Name { name } => json!({ "name": name.as_str() }),
        // These verbs cannot be scheduled.
        Args::NewSchedule(_) | Args::Reschedule { .. } | Args::Schedule { .. } => json!({}),
    }
}

/// A body as JSON. Our types always convert.
fn sent<T: Serialize>(body: &T) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}
