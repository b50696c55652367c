//! The bodies of verbs, one type per body. Verbs that are not here take [`crate::ActionBody`].

use crate::{CpuMilli, Size};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The body of verbs that take nothing: `resched`, `unresched`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NothingBody {}

/// The body of `migrate`, `migrate-live`, `migrate-poweroff` and `migrate-poweroff-hard`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateBody {
    /// The host to move to, by name or id.
    pub host: String,
    /// Refuse if the host's capacity is exceeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enforce: bool,
    /// For `migrate` of a VM whose host does not answer: you state that nothing of that host runs
    /// any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
    /// Also for such a VM: you state that its files are where the new host sees them, though the
    /// storage is not shared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub storage_moved: bool,
}

/// The body of `disk-attach`. `image`, `size` or `swap` says where the disk's
/// content comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskAttachBody {
    /// The disk's name and target device. If not given: the first free one of `vda`, `vdb`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A copy on write of this image, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// An empty disk of this size. With `image`: the size of the disk, at least the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// A disk of this size, formatted as swap space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// `qcow2` or `raw`; `qcow2` if not given (`raw` for swap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether the guest may only read from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// The body of `disk-detach`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskDetachBody {
    /// The disk: `vdb`.
    pub name: String,
}

/// The body of `nic-attach`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NicAttachBody {
    /// The host's bridge that the card is plugged into.
    pub bridge: String,
    /// The card's MAC address. If not given, one is chosen, and it stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// The body of `nic-detach`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NicDetachBody {
    /// The card's MAC address.
    pub mac: String,
}

/// The body of `snapshot-create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreateBody {
    /// Your label for the snapshot. Later requests may name the snapshot by it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The body of `snapshot-revert` and `snapshot-delete`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotBody {
    /// The snapshot's name. Its label does as well, if no other snapshot has the same label.
    pub name: String,
}

/// The body of `disk-snapshot` and `disk-snapshot-live`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskSnapshotBody {
    /// The disk: `vda`.
    pub disk: String,
    /// The name of the new image.
    pub image: String,
    /// The image datastore, by name or id. If not given: the datastore of the disk's image, or the
    /// only image datastore there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
}

/// The body of `disk-snapshot-cancel`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskSnapshotCancelBody {
    /// The disk.
    pub disk: String,
}

/// The body of `resize`. Fields that are not given stay as they are. At least one field must be
/// given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeBody {
    /// CPUs that are reserved on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMilli>,
    /// Virtual CPUs that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory of the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Refuse if the host's capacity is exceeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enforce: bool,
    /// Allow that more than half of its memory is taken from a running guest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// The body of `update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBody {
    /// The new user data, in full. It is kept and shown, but no guest receives it yet.
    pub user_data: String,
}

/// The body of `rename`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    /// The new name.
    pub name: String,
}

/// The body of `schedule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// The verb to ask of the VM when the time has come.
    pub verb: String,
    /// The body of that verb. If the body names a host, the host's capacity is never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub args: Option<Value>,
    /// The time: `2026-12-01T02:00`, `every 6h`, `daily 02:00`, `weekly mon,thu 02:00`,
    /// `monthly 1,15,last 02:00`, `yearly 12-24 02:00` or `cron 0 2 * * 1-5`.
    pub when: String,
    /// The time zone of `when`, by its IANA name. If not given: `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How to treat a run that is late: `skip 1h` (if not given) or `run-once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<String>,
    /// The earliest moment, with an offset or by the clocks of the zone. `every` counts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The latest moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The largest number of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// The body of `unschedule`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnscheduleBody {
    /// The id of the VM's scheduled action.
    pub id: u32,
}

/// The body of `reschedule`. Fields that are not given stay as they are. `null` removes `from`,
/// `until` or `times`. The runs are counted from zero again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescheduleBody {
    /// The id of the VM's scheduled action.
    pub id: u32,
    /// The time, written as in `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How to treat a run that is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<String>,
    /// The earliest moment.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<Option<String>>,
    /// The latest moment.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<Option<String>>,
    /// The largest number of runs.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub times: Option<Option<u32>>,
}

/// Reads a field that is present, even if its value is `null`.
#[allow(clippy::option_option)] // not given, given as null, given: three things
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The body of `forget`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetBody {
    /// Whether to forget the VM even though its host answers.
    #[serde(default)]
    pub force: bool,
}

/// The body of `POST /v1/hosts/{host}/adopt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptBody {
    /// The domain: its name or UUID at the hypervisor.
    pub domain: String,
    /// The name of the VM. If not given: the name of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Allow that the virtual machine differs from today's domain from its next start on. This
    /// happens where a specification cannot describe the domain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_changes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_away_is_not_what_is_left_out() {
        let body: RescheduleBody =
            crate::decode(json!({"id": 3, "until": null, "times": 2})).expect("fits");
        assert_eq!((&body.from, &body.until, body.times), (&None, &Some(None), Some(Some(2))));
        assert_eq!(
            serde_json::to_value(&body).expect("JSON"),
            json!({"id": 3, "until": null, "times": 2})
        );
    }
}
