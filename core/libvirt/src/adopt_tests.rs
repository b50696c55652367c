//! Domains that somebody else made, as libvirt writes them.

use super::*;

fn domain(devices: &str) -> Result<WildDomain, DriverError> {
    let xml = format!(
        "<domain type='kvm' id='3'><name>old</name><memory unit='KiB'>2097152</memory><currentMemory unit='KiB'>1048576</currentMemory>\
         <vcpu placement='static' current='2'>4</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>\
         <devices>{devices}</devices></domain>"
    );
    read("old".to_owned(), &Node::parse(&xml).expect("reads"))
}

fn disk_xml(inside: &str) -> String {
    format!("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>{inside}</disk>")
}

#[test]
fn a_plain_domain_is_read() {
    let disks = disk_xml("<source file='/a.qcow2' index='1'/><target dev='vda' bus='virtio'/>")
        + "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/b'/><target dev='sda' bus='sata'/><readonly/></disk>"
        + "<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/></disk><sound model='ich9'/>";
    let nics = "<interface type='bridge'><mac address='52:54:00:AA:00:01'/><source bridge='br0'/></interface>\
                <interface type='network'><mac address='52:54:00:aa:00:02'/><source network='default' bridge='virbr0'/></interface>";
    let wild = domain(&format!("{disks}{nics}")).expect("can be said");
    assert_eq!((wild.name.as_str(), wild.vcpus, wild.memory_mib), ("old", 2, 1024));
    let name = |text: &str| text.parse::<DiskName>().expect("valid");
    let expected = [
        (name("vda"), "/a.qcow2".to_owned(), DiskFormat::Qcow2, false),
        (name("sda"), "/b".to_owned(), DiskFormat::Raw, true),
    ];
    assert_eq!(wild.disks, expected);
    let nics: Vec<_> =
        wild.nics.iter().map(|(mac, bridge)| (mac.as_str(), bridge.as_str())).collect();
    assert_eq!(nics, [("52:54:00:aa:00:01", "br0"), ("52:54:00:aa:00:02", "virbr0")]);
}

#[test]
fn what_a_specification_cannot_say_is_refused_by_its_name() {
    for (devices, word) in [
        ("<disk type='block' device='disk'><source dev='/dev/x'/><target dev='vda' bus='virtio'/></disk>".to_owned(), "block"),
        (
            "<disk type='network' device='disk'><source protocol='rbd'/><target dev='vda' bus='virtio'/></disk>".to_owned(),
            "network",
        ),
        ("<disk type='file' device='cdrom'><source file='/x.iso'/><target dev='sda' bus='sata'/></disk>".to_owned(), "eject"),
        (disk_xml("<source file='/a'/><target dev='hda' bus='ide'/>"), "ide"),
        (disk_xml("<source file='/a'/><target dev='sda' bus='scsi'/>"), "scsi"),
        (disk_xml("<source file='/a'><encryption format='luks'/></source><target dev='vda' bus='virtio'/>"), "encrypted"),
        (disk_xml("<source file='/a'/><target dev='vda' bus='virtio'/>").replace("qcow2", "vmdk"), "vmdk"),
        ("<hostdev mode='subsystem' type='pci'/>".to_owned(), "passed through"),
        ("<filesystem type='mount'/>".to_owned(), "folder"),
        ("<tpm model='tpm-crb'/>".to_owned(), "TPM"),
        ("<interface type='user'><mac address='52:54:00:aa:00:01'/></interface>".to_owned(), "user"),
        ("<interface type='direct'><mac address='52:54:00:aa:00:01'/><source dev='eth0'/></interface>".to_owned(), "direct"),
    ] {
        let error = domain(&devices).expect_err(word);
        assert_eq!(error.code, "beyond-words", "{devices}");
        assert!(error.detail.contains(word), "{word}: {error}");
    }
    let uefi = "<domain><vcpu>1</vcpu><memory>1024</memory><os firmware='efi'/></domain>";
    assert_eq!(
        read("x".to_owned(), &Node::parse(uefi).expect("reads")).expect_err("uefi").code,
        "beyond-words"
    );
}
