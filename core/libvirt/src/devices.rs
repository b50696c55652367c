//! The devices of a domain, as libvirt's XML has them.

use crate::layers::{Backing, Source, format_word};
use crate::options::Cache;
use ostler_driver::{DomainDisk, DomainNic};
use ostler_model::DriverError;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Empty {}

#[derive(Serialize)]
pub(crate) struct Controller {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "@index", skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<usize>,
    #[serde(rename = "@model")]
    pub(crate) model: &'static str,
}

#[derive(Serialize)]
#[serde(rename = "disk")]
pub(crate) struct Disk<'a> {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "@device")]
    pub(crate) device: &'static str,
    pub(crate) driver: DiskDriver,
    pub(crate) source: Source<'a>,
    #[serde(rename = "backingStore", skip_serializing_if = "Option::is_none")]
    pub(crate) backing: Option<Backing<'a>>,
    pub(crate) target: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) readonly: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<Boot>,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(
        disk: &'a DomainDisk,
        order: Option<usize>,
        cache: Cache,
    ) -> Result<Self, DriverError> {
        let name = disk.name.as_str();
        // The name is the target device: its first letters select the bus.
        let letters = |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| letters_ok(rest));
        let bus = if letters("vd") {
            "virtio"
        } else if letters("sd") {
            "sata"
        } else {
            let detail = format!(
                "disk {name}: a disk is named after its device, vda to vdzz (virtio) or sda to \
                 sdzz (SATA)"
            );
            return Err(DriverError::refused("bad-disk-name", detail));
        };
        Ok(Self {
            kind: "file",
            device: "disk",
            driver: DiskDriver {
                name: "qemu",
                kind: format_word(disk.format),
                cache: cache.word(),
                discard: "unmap",
            },
            source: Source { file: &disk.file.absolute },
            backing: disk.below.as_deref().map(Backing::of),
            target: Target { dev: name, bus },
            readonly: disk.read_only.then_some(Empty {}),
            boot: order.map(|order| Boot { order }),
        })
    }
}

fn letters_ok(rest: &str) -> bool {
    (1..=2).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_lowercase())
}

#[derive(Serialize)]
pub(crate) struct DiskDriver {
    #[serde(rename = "@name")]
    pub(crate) name: &'static str,
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "@cache")]
    pub(crate) cache: &'static str,
    #[serde(rename = "@discard")]
    pub(crate) discard: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Target<'a> {
    #[serde(rename = "@dev")]
    pub(crate) dev: &'a str,
    #[serde(rename = "@bus")]
    pub(crate) bus: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Boot {
    #[serde(rename = "@order")]
    pub(crate) order: usize,
}

#[derive(Serialize)]
#[serde(rename = "interface")]
pub(crate) struct Nic<'a> {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    pub(crate) mac: Address<'a>,
    pub(crate) source: Bridge<'a>,
    pub(crate) model: VirtioModel,
}

impl<'a> Nic<'a> {
    pub(crate) fn new(nic: &'a DomainNic) -> Self {
        Self {
            kind: "bridge",
            mac: Address { address: nic.mac.as_str() },
            source: Bridge { bridge: &nic.bridge },
            model: VirtioModel { kind: "virtio" },
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Address<'a> {
    #[serde(rename = "@address")]
    pub(crate) address: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Bridge<'a> {
    #[serde(rename = "@bridge")]
    pub(crate) bridge: &'a str,
}

#[derive(Serialize)]
pub(crate) struct VirtioModel {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
}

/// A pty whose output is also written to a file. The log begins with the first byte, and a console
/// can be attached later.
#[derive(Serialize)]
pub(crate) struct Serial<'a> {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    pub(crate) log: Log<'a>,
    pub(crate) target: Port,
}

#[derive(Serialize)]
pub(crate) struct Log<'a> {
    #[serde(rename = "@file")]
    pub(crate) file: &'a str,
    #[serde(rename = "@append")]
    pub(crate) append: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Port {
    #[serde(rename = "@port")]
    pub(crate) port: u32,
}

#[derive(Serialize)]
pub(crate) struct Vnc {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "@port")]
    pub(crate) port: i32,
    #[serde(rename = "@autoport")]
    pub(crate) autoport: &'static str,
    pub(crate) listen: Listen,
}

#[derive(Serialize)]
pub(crate) struct Listen {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "@address")]
    pub(crate) address: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Video {
    pub(crate) model: VideoModel,
}

#[derive(Serialize)]
pub(crate) struct VideoModel {
    #[serde(rename = "@type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "@vram")]
    pub(crate) vram: u32,
}

#[derive(Serialize)]
pub(crate) struct Balloon {
    #[serde(rename = "@model")]
    pub(crate) model: &'static str,
    pub(crate) stats: Stats,
}

#[derive(Serialize)]
pub(crate) struct Stats {
    #[serde(rename = "@period")]
    pub(crate) period: u32,
}

#[derive(Serialize)]
pub(crate) struct Model {
    #[serde(rename = "@model")]
    pub(crate) model: &'static str,
}
