//! The description in a memory file, as libvirt writes it, changed to other files and a new stamp.

use super::*;
use expect_test::expect;
use ostler_driver::{DomainDisk, FileRef, Layer};
use ostler_model::{DiskFormat, Firmware, Generation, Graphics, HostId, Identity, StoreId, VmUuid};
use uuid::Uuid;

const SAVED: &str = "<domain type='qemu' id='3'>
  <name>ostler-7</name>
  <uuid>00000000-0000-0000-0000-000000000002</uuid>
  <metadata>
    <other:note xmlns:other='urn:x'>kept &amp; well</other:note>
    <ostler:vm xmlns:ostler='urn:ostler:domain:1' store='00000000-0000-0000-0000-000000000001' \
vm='00000000-0000-0000-0000-000000000002' generation='3' save='00000000-0000-0000-0000-000000000002/9/4/domain'/>
  </metadata>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><kernel>/old/vmlinux</kernel></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/old/vda' index='1'/>
      <backingStore type='file' index='2'><format type='qcow2'/><source file='/old/base'/></backingStore>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </disk>
    <serial type='pty'><source path='/dev/pts/3'/><log file='/old/log' append='on'/><target port='0'/></serial>
    <console type='pty' tty='/dev/pts/3'><log file='/old/log' append='on'/><target type='serial' port='0'/></console>
  </devices>
</domain>";

fn file(path: &str) -> FileRef {
    let absolute = format!("/new/{path}");
    FileRef {
        host: HostId(1),
        datastore: "system".parse().expect("valid"),
        path: "x".parse().expect("valid"),
        absolute,
    }
}

fn spec(disk: &str) -> DomainSpec {
    DomainSpec {
        identity: Identity {
            store: StoreId(Uuid::from_u128(1)),
            vm: VmUuid(Uuid::from_u128(2)),
            generation: Generation(5),
        },
        name: "ostler-7".to_owned(),
        title: String::new(),
        vcpus: 1,
        cpu_milli: 1000,
        vcpus_most: 1,
        memory_mib: 96,
        memory_most_mib: 96,
        firmware: Firmware::Bios,
        kernel: Some(file("vml<inux>")),
        initrd: None,
        cmdline: String::new(),
        disks: vec![DomainDisk {
            name: disk.parse().expect("valid"),
            file: file("v'd\"a&<"),
            format: DiskFormat::Qcow2,
            read_only: false,
            below: None,
        }],
        nics: vec![],
        graphics: Graphics::None,
        console_log: file("log"),
    }
}

#[test]
fn the_machine_stays_and_its_files_and_stamp_change() {
    let image = Image::parse(SAVED).expect("reads");
    let stamp = image.stamp.as_ref().expect("stamped");
    assert_eq!((stamp.identity.generation, stamp.save.is_some()), (Generation(3), true));
    let xml = image.as_domain(&spec("vda")).expect("writes");
    let again = Image::parse(&xml).expect("reads again").stamp.expect("stamped");
    assert_eq!(again, Stamp::new(spec("vda").identity));
    expect![[r#"
        <domain type="qemu" id="3">
        <name>ostler-7</name>
        <uuid>00000000-0000-0000-0000-000000000002</uuid>
        <metadata>
        <other:note xmlns:other="urn:x">kept &amp; well</other:note>
        <ostler:vm xmlns:ostler="urn:ostler:domain:1" store="00000000-0000-0000-0000-000000000001" vm="00000000-0000-0000-0000-000000000002" generation="5"/></metadata>
        <os><type arch="x86_64" machine="pc-q35-7.2">hvm</type><kernel>/new/vml&lt;inux&gt;</kernel></os>
        <devices>
        <disk type="file" device="disk">
        <driver name="qemu" type="qcow2" cache="none"/>
        <source file="/new/v&apos;d&quot;a&amp;&lt;" index="1"/>
        <target dev="vda" bus="virtio"/>
        <address type="pci" domain="0x0000" bus="0x01" slot="0x00" function="0x0"/>
        </disk>
        <serial type="pty"><source path="/dev/pts/3"/><log file="/new/log" append="on"/><target port="0"/></serial>
        <console type="pty" tty="/dev/pts/3"><log file="/new/log" append="on"/><target type="serial" port="0"/></console>
        </devices>
        </domain>"#]].assert_eq(&xml.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
}

#[test]
fn files_below_that_are_known_are_told_and_those_of_before_are_not() {
    let image = Image::parse(SAVED).expect("reads");
    let mut known = spec("vda");
    known.disks[0].below = Some(vec![Layer { file: file("base"), format: DiskFormat::Raw }]);
    let xml = image.as_domain(&known).expect("writes");
    let chain = r#"<backingStore type="file"><format type="raw"/><source file="/new/base"/><backingStore/></backingStore>"#;
    assert!(xml.contains(chain) && !xml.contains("/old/base"), "{xml}");
}

#[test]
fn another_machine_is_refused() {
    let image = Image::parse(SAVED).expect("reads");
    assert_eq!(image.as_domain(&spec("vdb")).expect_err("no such disk").code, "other-machine");
    assert!(Image::parse("<domain/>").expect("reads").stamp.is_none());
    assert!(Image::parse("<domain>").is_err());
}
