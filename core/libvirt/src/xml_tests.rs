//! Golden XML, and texts that try to break out of it.

use super::*;
use crate::options::Accel;
use expect_test::expect;
use ostler_driver::FileRef;
use ostler_model::{Generation, HostId, Identity, StoreId, VmUuid};
use uuid::Uuid;

fn file(path: &str) -> FileRef {
    let absolute = format!("/srv/{path}");
    FileRef {
        host: HostId(1),
        datastore: "system".parse().expect("valid"),
        path: "x".parse().expect("valid"),
        absolute,
    }
}

fn config() -> HostConfig {
    HostConfig {
        uri: "qemu:///system".to_owned(),
        accel: Accel::Auto,
        cache: Cache::None,
        cpu_shares: false,
        bridge_check: true,
        migrate_uri: None,
        migrate_address: None,
    }
}

pub(crate) fn spec() -> DomainSpec {
    DomainSpec {
        identity: Identity {
            store: StoreId(Uuid::from_u128(1)),
            vm: VmUuid(Uuid::from_u128(2)),
            generation: Generation(3),
        },
        name: "ostler-7".to_owned(),
        title: "web".to_owned(),
        vcpus: 2,
        cpu_milli: 500,
        vcpus_most: 2,
        memory_mib: 96,
        memory_most_mib: 96,
        firmware: Firmware::Bios,
        kernel: None,
        initrd: None,
        cmdline: String::new(),
        disks: vec![DomainDisk {
            name: "vda".parse().expect("valid"),
            file: file("7/vda.qcow2"),
            format: DiskFormat::Qcow2,
            read_only: false,
            below: None,
        }],
        nics: vec![],
        graphics: Graphics::None,
        console_log: file("7/console.log"),
    }
}

/// One element a line, so that a difference shows where it is.
fn pretty(xml: &str) -> String {
    xml.replace("><", ">\n<")
}

#[test]
fn a_small_domain() {
    expect![[r#"
        <domain type="qemu">
        <name>ostler-7</name>
        <uuid>00000000-0000-0000-0000-000000000002</uuid>
        <title>web</title>
        <metadata>
        <ostler:vm xmlns:ostler="urn:ostler:domain:1" store="00000000-0000-0000-0000-000000000001" vm="00000000-0000-0000-0000-000000000002" generation="3"/>
        </metadata>
        <memory unit="MiB">96</memory>
        <currentMemory unit="MiB">96</currentMemory>
        <vcpu current="2">2</vcpu>
        <os>
        <type arch="x86_64" machine="q35">hvm</type>
        </os>
        <features>
        <acpi/>
        <apic/>
        <tcg>
        <tb-cache unit="MiB">32</tb-cache>
        </tcg>
        </features>
        <clock offset="utc"/>
        <on_poweroff>destroy</on_poweroff>
        <on_reboot>restart</on_reboot>
        <on_crash>preserve</on_crash>
        <devices>
        <controller type="pci" index="0" model="pcie-root"/>
        <controller type="pci" index="1" model="pcie-root-port"/>
        <controller type="pci" index="2" model="pcie-root-port"/>
        <controller type="pci" index="3" model="pcie-root-port"/>
        <controller type="pci" index="4" model="pcie-root-port"/>
        <controller type="pci" index="5" model="pcie-root-port"/>
        <controller type="pci" index="6" model="pcie-root-port"/>
        <controller type="usb" model="none"/>
        <disk type="file" device="disk">
        <driver name="qemu" type="qcow2" cache="none" discard="unmap"/>
        <source file="/srv/7/vda.qcow2"/>
        <target dev="vda" bus="virtio"/>
        <boot order="1"/>
        </disk>
        <serial type="pty">
        <log file="/srv/7/console.log" append="on"/>
        <target port="0"/>
        </serial>
        <memballoon model="virtio">
        <stats period="10"/>
        </memballoon>
        <panic model="isa"/>
        </devices>
        </domain>"#]].assert_eq(&pretty(&domain(&spec(), &config(), DomainType::Qemu).expect("serialises")));
}

#[test]
#[allow(clippy::too_many_lines, reason = "the golden text of a whole domain")]
fn a_domain_with_all_there_is() {
    let full = DomainSpec {
        firmware: Firmware::Uefi,
        vcpus_most: 4,
        memory_most_mib: 256,
        kernel: Some(file("vmlinuz")),
        initrd: Some(file("initrd")),
        cmdline: "console=ttyS0 quiet".to_owned(),
        disks: vec![
            spec().disks.remove(0),
            DomainDisk {
                name: "sdb".parse().expect("valid"),
                file: file("7/sdb"),
                format: DiskFormat::Raw,
                read_only: true,
                below: None,
            },
        ],
        nics: vec![DomainNic {
            mac: "52:54:00:00:00:01".parse().expect("valid"),
            bridge: "br0".to_owned(),
        }],
        graphics: Graphics::Vnc,
        ..spec()
    };
    let config = HostConfig { cache: Cache::Writeback, cpu_shares: true, ..config() };
    expect![[r#"
        <domain type="kvm">
        <name>ostler-7</name>
        <uuid>00000000-0000-0000-0000-000000000002</uuid>
        <title>web</title>
        <metadata>
        <ostler:vm xmlns:ostler="urn:ostler:domain:1" store="00000000-0000-0000-0000-000000000001" vm="00000000-0000-0000-0000-000000000002" generation="3"/>
        </metadata>
        <memory unit="MiB">256</memory>
        <currentMemory unit="MiB">96</currentMemory>
        <vcpu current="2">4</vcpu>
        <cputune>
        <shares>512</shares>
        </cputune>
        <os firmware="efi">
        <type arch="x86_64" machine="q35">hvm</type>
        <kernel>/srv/vmlinuz</kernel>
        <initrd>/srv/initrd</initrd>
        <cmdline>console=ttyS0 quiet</cmdline>
        <nvram>/srv/7/uefi-variables.fd</nvram>
        </os>
        <features>
        <acpi/>
        <apic/>
        </features>
        <cpu mode="host-model"/>
        <clock offset="utc"/>
        <on_poweroff>destroy</on_poweroff>
        <on_reboot>restart</on_reboot>
        <on_crash>preserve</on_crash>
        <devices>
        <controller type="pci" index="0" model="pcie-root"/>
        <controller type="pci" index="1" model="pcie-root-port"/>
        <controller type="pci" index="2" model="pcie-root-port"/>
        <controller type="pci" index="3" model="pcie-root-port"/>
        <controller type="pci" index="4" model="pcie-root-port"/>
        <controller type="pci" index="5" model="pcie-root-port"/>
        <controller type="pci" index="6" model="pcie-root-port"/>
        <controller type="pci" index="7" model="pcie-root-port"/>
        <controller type="pci" index="8" model="pcie-root-port"/>
        <controller type="usb" model="none"/>
        <disk type="file" device="disk">
        <driver name="qemu" type="qcow2" cache="writeback" discard="unmap"/>
        <source file="/srv/7/vda.qcow2"/>
        <target dev="vda" bus="virtio"/>
        <boot order="1"/>
        </disk>
        <disk type="file" device="disk">
        <driver name="qemu" type="raw" cache="writeback" discard="unmap"/>
        <source file="/srv/7/sdb"/>
        <target dev="sdb" bus="sata"/>
        <readonly/>
        <boot order="2"/>
        </disk>
        <interface type="bridge">
        <mac address="52:54:00:00:00:01"/>
        <source bridge="br0"/>
        <model type="virtio"/>
        </interface>
        <serial type="pty">
        <log file="/srv/7/console.log" append="on"/>
        <target port="0"/>
        </serial>
        <graphics type="vnc" port="-1" autoport="yes">
        <listen type="address" address="127.0.0.1"/>
        </graphics>
        <video>
        <model type="vga" vram="16384"/>
        </video>
        <memballoon model="virtio">
        <stats period="10"/>
        </memballoon>
        <panic model="isa"/>
        </devices>
        </domain>"#]].assert_eq(&pretty(&domain(&full, &config, DomainType::Kvm).expect("serialises")));
}

#[test]
fn no_text_breaks_out() {
    let hostile = "a'b\"c<d>e&f]]>--><x/>ä";
    let mut bad = DomainSpec {
        title: format!("{hostile}\u{0}\n\u{1b}"),
        cmdline: hostile.to_owned(),
        ..spec()
    };
    bad.kernel = Some(file(hostile));
    bad.disks[0].file = file(hostile);
    bad.console_log = file(hostile);
    let xml = domain(&bad, &config(), DomainType::Qemu).expect("serialises");
    let tree = crate::tree::Node::parse(&xml).expect("well formed");
    assert_eq!(tree.child("title").expect("there").text(), hostile);
    let os = tree.child("os").expect("there");
    assert_eq!(os.child("cmdline").expect("there").text(), hostile);
    assert_eq!(os.child("kernel").expect("there").text(), format!("/srv/{hostile}"));
    let devices = tree.child("devices").expect("there");
    let source = devices.child("disk").and_then(|disk| disk.child("source")).expect("there");
    assert_eq!(source.attr("file"), Some(format!("/srv/{hostile}").as_str()));
    assert!(devices.child("x").is_none() && tree.child("x").is_none());
}

#[test]
fn what_libvirt_cannot_be_told_is_refused() {
    let broken: [fn(&mut DomainSpec); 7] = [
        |spec| spec.name = "a\0b".to_owned(),
        |spec| spec.name = "a/b".to_owned(),
        |spec| spec.name = String::new(),
        |spec| spec.cmdline = "a\u{1}".to_owned(),
        |spec| spec.console_log.absolute = "/a\nb".to_owned(),
        |spec| spec.disks[0].file.absolute = "/a\0b".to_owned(),
        |spec| spec.disks[0].name = "root".parse().expect("valid"),
    ];
    for (at, breaks) in broken.iter().enumerate() {
        let mut spec = spec();
        breaks(&mut spec);
        let error = domain(&spec, &config(), DomainType::Qemu).expect_err("refused");
        assert_eq!(error.kind, ostler_model::ErrorKind::Refused, "{at}: {error}");
    }
}
