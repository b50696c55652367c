//! What verbs are asked with: a body for each. Those that are not here take [`crate::ActionBody`].

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
    /// Where to, by name or id.
    pub host: String,
    /// Refuse if the host's capacity is exceeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enforce: bool,
    /// `migrate` of a VM whose host is not seen: you state that nothing of that host runs any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
    /// The same: you state that the VM's files are where the new host sees them, though the storage is not shared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub storage_moved: bool,
}

/// The body of `disk-attach`. Exactly one of `image`, `size` and `swap` says where the disk's content comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskAttachBody {
    /// Its name and target device; the first free one of `vda`, `vdb`, ... if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A copy on write of this image, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Empty, of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Formatted as swap space, of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// `qcow2` or `raw`; `qcow2` if not given (`raw` for swap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether the guest may only read.
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
    /// The host's bridge it is plugged into.
    pub bridge: String,
    /// Its address; chosen, and stable then, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// The body of `nic-detach`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NicDetachBody {
    /// Its address.
    pub mac: String,
}

/// The body of `snapshot-create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreateBody {
    /// What you call it: it can be asked for by that, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The body of `snapshot-revert` and `snapshot-delete`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotBody {
    /// Its name, or what its maker calls it if only one is called so.
    pub name: String,
}

/// The body of `disk-snapshot` and `disk-snapshot-live`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskSnapshotBody {
    /// The disk: `vda`.
    pub disk: String,
    /// The name of the image it becomes.
    pub image: String,
    /// The image datastore, by name or id; the one the disk's image is in, or the only one there is, if not given.
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

/// The body of `resize`. What is not given stays; something must be given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeBody {
    /// CPUs that placement reserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMilli>,
    /// Virtual CPUs the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Refuse if the host's capacity is exceeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enforce: bool,
    /// Take more than half of its memory from a running guest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// The body of `update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBody {
    /// The new user data, in full. It is kept and shown; no guest is handed it yet.
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
    /// What is asked of the VM then.
    pub verb: String,
    /// With what: that verb's own body. Where a host is named, its capacity is never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub args: Option<Value>,
    /// When: `2026-12-01T02:00`, `every 6h`, `daily 02:00`, `weekly mon,thu 02:00`, `monthly 1,15,last 02:00`, `yearly 12-24 02:00` or
    /// `cron 0 2 * * 1-5`.
    pub when: String,
    /// The time zone whose clocks that goes by, as IANA lists it; `UTC` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What becomes of it if it is late: `skip 1h` (if not given) or `run-once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<String>,
    /// Not before this moment, with an offset or by the clocks of the zone; `every` counts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Not after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How often at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// The body of `unschedule`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnscheduleBody {
    /// Which of the VM's scheduled actions.
    pub id: u32,
}

/// The body of `reschedule`. What is not given stays; `null` takes `from`, `until` or `times` away. It counts from nought again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescheduleBody {
    /// Which of the VM's scheduled actions.
    pub id: u32,
    /// When; as in `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What becomes of it if it is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<String>,
    /// Not before this moment.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<Option<String>>,
    /// Not after this moment.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<Option<String>>,
    /// How often at most.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub times: Option<Option<u32>>,
}

/// A field that is there, if only as `null`.
#[allow(clippy::option_option)] // not given, given as null, given: three things
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The body of `forget`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetBody {
    /// Even though its host answers.
    #[serde(default)]
    pub force: bool,
}

/// The body of `POST /v1/hosts/{host}/adopt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptBody {
    /// The domain: its name or UUID at the hypervisor.
    pub domain: String,
    /// What the VM is to be called; as the domain if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// That it may be another machine from its next start on, where a specification cannot say what it is now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_changes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_away_is_not_what_is_left_out() {
        let body: RescheduleBody = crate::decode(json!({"id": 3, "until": null, "times": 2})).expect("fits");
        assert_eq!((&body.from, &body.until, body.times), (&None, &Some(None), Some(Some(2))));
        assert_eq!(serde_json::to_value(&body).expect("JSON"), json!({"id": 3, "until": null, "times": 2}));
    }
}
