//! Lists how an adopted domain would become another machine from its next start on.
//!
//! Ostler makes a domain from its specification each time it starts it. A domain that somebody else
//! made may have things that a specification cannot name: another machine type, another model of a
//! network card, a clock in local time. A guest may not boot without them. So each difference is
//! listed before the domain is adopted. Things that libvirt adds to every domain by itself are not
//! listed.

use crate::options::Cache;
use crate::tree::Node;
use crate::xml::DomainType;

/// How the host would start the domain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// With KVM, or emulated.
    pub(crate) kind: DomainType,
    /// How disks are cached.
    pub(crate) cache: Cache,
}

/// The most differences that are listed: a longer list helps nobody.
const NAMED_MAX: usize = 40;

/// The differences, each in a few words.
pub(crate) fn differences(domain: &Node, start: Start) -> Vec<String> {
    let mut found = Found(Vec::new());
    found.whole(domain, start);
    for node in domain.children() {
        found.part(node, start);
    }
    let devices = domain.child("devices").cloned().unwrap_or_default();
    let count = |name: &str| devices.children().filter(|node| node.name == name).count();
    for node in devices.children() {
        found.device(node, start);
    }
    if !boots_in_order(&devices) {
        found.say("disks that boot in another order than they are listed in (they boot as they are listed)");
    }
    if count("serial") > 1 {
        found.say("more than one serial port (it keeps the first)");
    }
    if count("graphics") == 0 && count("video") > 0 {
        found.say("a video card without a screen to look at it (it gets none)");
    }
    found.0.dedup();
    found.0.truncate(NAMED_MAX);
    found.0
}

/// Whether the disks boot in the order in which they are listed. A disk without a boot number comes
/// after all disks that have one.
fn boots_in_order(devices: &Node) -> bool {
    let disks = devices.children().filter(|node| {
        node.name == "disk" && node.attr("device").is_none_or(|kind| kind == "disk")
    });
    disks
        .map(|disk| {
            attr(disk, "boot", "order").and_then(|order| order.parse().ok()).unwrap_or(u32::MAX)
        })
        .is_sorted()
}

struct Found(Vec<String>);

fn attr<'a>(node: &'a Node, child: &str, key: &str) -> Option<&'a str> {
    node.child(child).and_then(|child| child.attr(key))
}

impl Found {
    fn say(&mut self, what: impl Into<String>) {
        self.0.push(what.into());
    }

    /// Lists `what` if a value is there and differs from `becomes`.
    fn unless(&mut self, what: &str, value: Option<&str>, becomes: &str) {
        if let Some(value) = value.filter(|value| *value != becomes) {
            self.say(format!("{what} {value} (becomes {becomes})"));
        }
    }

    fn whole(&mut self, domain: &Node, start: Start) {
        let kind = match start.kind {
            DomainType::Kvm => "kvm",
            DomainType::Qemu => "qemu",
        };
        self.unless("virtualisation", domain.attr("type"), kind);
        if domain.child("features").and_then(|features| features.child("acpi")).is_none() {
            self.say("no ACPI (it gets it)");
        }
    }

    fn part(&mut self, node: &Node, start: Start) {
        match node.name.as_str() {
            "os" => self.os(node),
            "features" => {
                // `tcg` sets the size of the cache for translated code: that is not the guest's
                // machine, and we choose it.
                for feature in node
                    .children()
                    .filter(|feature| !matches!(feature.name.as_str(), "acpi" | "apic" | "tcg"))
                {
                    self.say(format!("feature {} (it gets none)", feature.name));
                }
            }
            "cpu" => self.cpu(node, start.kind),
            "clock" => {
                self.unless("clock offset", node.attr("offset"), "utc");
                if node.child("timer").is_some() {
                    self.say("timers of its clock (it gets the usual ones)");
                }
            }
            "on_poweroff" => self.unless("on_poweroff", Some(node.text().trim()), "destroy"),
            "on_reboot" => self.unless("on_reboot", Some(node.text().trim()), "restart"),
            "seclabel" => {
                if node.attr("type") == Some("static") {
                    self.say("a security label of its own (it gets one made for it)");
                }
            }
            "name" | "uuid" | "title" | "description" | "metadata" | "memory" | "currentMemory"
            | "vcpu" | "on_crash" | "resource" | "devices" => {}
            other => self.say(format!("{other} (it gets none)")),
        }
    }

    fn os(&mut self, os: &Node) {
        if let Some(kind) = os.child("type") {
            self.unless("architecture", kind.attr("arch"), "x86_64");
            let machine = kind
                .attr("machine")
                .filter(|machine| *machine != "q35" && !machine.starts_with("pc-q35-"));
            self.unless("machine type", machine, "q35");
        }
        for node in os.children() {
            match node.name.as_str() {
                "boot" => self.unless("boot from", node.attr("dev"), "hd"),
                "bootmenu" => {
                    if node.attr("enable") == Some("yes") {
                        self.say("a boot menu (it gets none)");
                    }
                }
                "type" | "kernel" | "initrd" | "cmdline" => {}
                other => self.say(format!("boot setting {other} (it gets none)")),
            }
        }
    }

    fn cpu(&mut self, cpu: &Node, kind: DomainType) {
        let model = cpu.child("model").map(Node::text);
        let model = model.as_deref().map(str::trim).filter(|model| !model.is_empty());
        let mode = cpu.attr("mode");
        match kind {
            DomainType::Kvm => {
                if mode != Some("host-model") {
                    self.say(format!(
                        "CPU {} (becomes the host's model)",
                        model.or(mode).unwrap_or("of its own")
                    ));
                }
            }
            // For an emulated domain that names no CPU, libvirt itself writes `custom` and
            // `qemu64`.
            DomainType::Qemu => {
                if mode.is_some_and(|mode| mode != "custom")
                    || model.is_some_and(|model| model != "qemu64")
                {
                    self.say(format!(
                        "CPU {} (becomes the usual one)",
                        model.or(mode).unwrap_or("of its own")
                    ));
                }
            }
        }
        for node in cpu.children() {
            match node.name.as_str() {
                "model" => {}
                // libvirt writes features beside a model: they are a part of the model.
                "feature" if kind == DomainType::Qemu => {}
                other => self.say(format!("CPU {other} (it gets none)")),
            }
        }
    }

    fn device(&mut self, node: &Node, start: Start) {
        match node.name.as_str() {
            "disk" => self.disk(node, start.cache),
            "interface" => self.nic(node),
            "graphics" => self.graphics(node),
            "controller" => {
                // libvirt makes all other controllers when they are needed.
                if node.attr("type") == Some("scsi") {
                    self.say("a SCSI controller (it gets none)");
                }
            }
            "input" => {
                if node.attr("bus") != Some("ps2") {
                    self.say(format!(
                        "an input device: {} (it gets none)",
                        node.attr("type").unwrap_or("?")
                    ));
                }
            }
            "serial" => {
                if !matches!(node.attr("type"), Some("pty" | "file")) {
                    self.say(format!(
                        "a serial port on {} (becomes Ostler's console)",
                        node.attr("type").unwrap_or("?")
                    ));
                }
            }
            "console" => {
                if attr(node, "target", "type").is_some_and(|kind| kind != "serial") {
                    self.say("a console that is no serial port (it gets a serial port)");
                }
            }
            "memballoon" => self.unless("memory balloon", node.attr("model"), "virtio"),
            "audio" | "video" | "emulator" | "panic" => {}
            "channel" => {
                let name =
                    attr(node, "target", "name").or_else(|| node.attr("type")).unwrap_or("?");
                self.say(format!("channel {name} (it gets none)"));
            }
            other => {
                let model =
                    node.attr("model").map_or_else(String::new, |model| format!(" {model}"));
                self.say(format!("device {other}{model} (it gets none)"));
            }
        }
    }

    fn disk(&mut self, disk: &Node, cache: Cache) {
        let target = attr(disk, "target", "dev").unwrap_or("?");
        let kind = disk.attr("device").unwrap_or("disk");
        if kind != "disk" {
            return self.say(format!("the empty {kind} drive {target} (it gets none)"));
        }
        self.unless(
            &format!("disk {target} with cache"),
            attr(disk, "driver", "cache"),
            cache.word(),
        );
        for word in [
            "serial",
            "wwn",
            "vendor",
            "product",
            "iotune",
            "blockio",
            "geometry",
            "shareable",
            "transient",
        ] {
            if disk.child(word).is_some() {
                self.say(format!("disk {target} with {word} (it gets none)"));
            }
        }
    }

    fn nic(&mut self, nic: &Node) {
        let mac = attr(nic, "mac", "address").unwrap_or("?");
        self.unless(&format!("network card {mac} of model"), attr(nic, "model", "type"), "virtio");
        if nic.attr("type") == Some("network") {
            let network = attr(nic, "source", "network").unwrap_or("?");
            self.say(format!(
                "network card {mac} on network {network} (becomes that network's bridge)"
            ));
        }
        for word in ["vlan", "bandwidth", "filterref", "mtu", "virtualport", "link", "boot", "rom"]
        {
            if nic.child(word).is_some() {
                self.say(format!("network card {mac} with {word} (it gets none)"));
            }
        }
    }

    fn graphics(&mut self, graphics: &Node) {
        let kind = graphics.attr("type").unwrap_or("?");
        if !is_our_screen(graphics) {
            self.say(format!(
                "a screen by {kind} (it gets VNC on 127.0.0.1 if it had VNC, and none otherwise)"
            ));
        }
    }
}

/// Whether a specification with `vnc` makes this very screen.
fn is_our_screen(graphics: &Node) -> bool {
    let local = |address: Option<&str>| address.is_none_or(|address| address == "127.0.0.1");
    let listens_local =
        local(graphics.attr("listen")) && local(attr(graphics, "listen", "address"));
    is_vnc(graphics)
        && listens_local
        && graphics.attr("autoport") != Some("no")
        && graphics.attr("passwd").is_none()
}

/// Whether it is a screen by VNC.
pub(crate) fn is_vnc(node: &Node) -> bool {
    node.name == "graphics" && node.attr("type") == Some("vnc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn differ(domain: &str) -> String {
        let start = Start { kind: DomainType::Qemu, cache: Cache::None };
        differences(&Node::parse(domain).expect("reads"), start).join("\n")
    }

    #[test]
    fn a_domain_as_ostler_makes_them_stays_what_it_is() {
        let plain = "<domain type='qemu'><name>x</name><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>\
            <features><acpi/><apic/></features><cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>\
            <clock offset='utc'/><on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>\
            <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
            <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a'/><target dev='vda' bus='virtio'/></disk>\
            <controller type='usb' index='0' model='qemu-xhci'/><controller type='pci' index='0' model='pcie-root'/>\
            <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/></interface>\
            <serial type='pty'><target port='0'/></serial><console type='pty'><target type='serial' port='0'/></console>\
            <input type='mouse' bus='ps2'/><input type='keyboard' bus='ps2'/><audio id='1' type='none'/>\
            <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>\
            <video><model type='vga'/></video><memballoon model='virtio'/></devices></domain>";
        expect![""].assert_eq(&differ(plain));
    }

    #[test]
    fn disks_that_boot_in_another_order_are_named() {
        let disks = |orders: [&str; 3]| {
            let disk = |(name, order): (char, &str)| {
                let boot = if order.is_empty() {
                    String::new()
                } else {
                    format!("<boot order='{order}'/>")
                };
                format!(
                    "<disk type='file' device='disk'><source file='/{name}'/><target dev='vd{name}'/>{boot}</disk>"
                )
            };
            let disks: String = ['a', 'b', 'c'].into_iter().zip(orders).map(disk).collect();
            let domain = format!(
                "<domain type='qemu'><features><acpi/></features><devices>{disks}</devices></domain>"
            );
            !differ(&domain).is_empty()
        };
        for same in [["", "", ""], ["1", "2", "3"], ["1", "4", ""], ["10", "", ""]] {
            assert!(!disks(same), "{same:?}");
        }
        for other in [["2", "1", ""], ["", "1", ""], ["1", "", "2"], ["9", "10", "1"]] {
            assert!(disks(other), "{other:?}");
        }
    }

    #[test]
    fn each_thing_that_a_specification_cannot_say_is_named() {
        let windows = "<domain type='kvm'><name>x</name><memoryBacking/><os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>\
            <boot dev='network'/><bootmenu enable='yes'/></os><features><acpi/><hyperv/></features>\
            <cpu mode='custom'><model>Nehalem</model><topology sockets='1'/></cpu><clock offset='localtime'><timer name='hpet'/></clock>\
            <on_reboot>destroy</on_reboot><pm/><devices>\
            <disk type='file' device='disk'><driver name='qemu' type='raw' cache='writethrough'/><target dev='vda' bus='virtio'/>\
            <serial>A1</serial></disk><disk type='file' device='cdrom'><target dev='sdb' bus='sata'/></disk>\
            <interface type='network'><mac address='52:54:00:00:00:01'/><source network='default' bridge='virbr0'/><model type='e1000'/>\
            <vlan/></interface><input type='tablet' bus='usb'/><graphics type='spice'/><video><model type='qxl'/></video>\
            <sound model='ich9'/><rng model='virtio'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
            <serial type='tcp'/><serial type='pty'/></devices></domain>";
        expect![[r#"
            virtualisation kvm (becomes qemu)
            memoryBacking (it gets none)
            machine type pc-i440fx-7.2 (becomes q35)
            boot from network (becomes hd)
            a boot menu (it gets none)
            feature hyperv (it gets none)
            CPU Nehalem (becomes the usual one)
            CPU topology (it gets none)
            clock offset localtime (becomes utc)
            timers of its clock (it gets the usual ones)
            on_reboot destroy (becomes restart)
            pm (it gets none)
            disk vda with cache writethrough (becomes none)
            disk vda with serial (it gets none)
            the empty cdrom drive sdb (it gets none)
            network card 52:54:00:00:00:01 of model e1000 (becomes virtio)
            network card 52:54:00:00:00:01 on network default (becomes that network's bridge)
            network card 52:54:00:00:00:01 with vlan (it gets none)
            an input device: tablet (it gets none)
            a screen by spice (it gets VNC on 127.0.0.1 if it had VNC, and none otherwise)
            device sound ich9 (it gets none)
            device rng virtio (it gets none)
            channel org.qemu.guest_agent.0 (it gets none)
            a serial port on tcp (becomes Ostler's console)
            more than one serial port (it keeps the first)"#]]
        .assert_eq(&differ(windows));
    }
}
