//! KVM through libvirt: the built-in hypervisor driver, and the only crate that names libvirt.
//!
//! ```text
//! kvm           the trait: picks the link of a site, the lock of a domain, and the deed
//! calls         how a call reaches a lane
//! links         the libvirt daemons that were called lately
//! link          one of them, with its roads, jobs, locks and feed of changes
//! road          some lanes to a daemon, each with a connection of its own while it is at work
//! lanes         bounded threads; a daemon that hangs fills its own lanes only
//! live          an open connection, with one owner;  pulse: whether it lives
//! feed          domains that may have changed
//! locks         one mutating call a domain at a time; remembers calls whose caller has gone
//! domain_ops    the calls, in blocking code: look, compare generations, act, look again
//! memory        the same for saving and restoring a guest's memory
//! jobs          long jobs by identity: begun, asked about, stopped
//! migrate       a running domain to another host;  copy: a disk in use into a file
//! hotplug       disks and network cards of a domain;  resize: its CPUs and memory
//! snapshots     memory and disks of a running guest, to go back to
//! adopt         domains of others;  differs: how they would change
//! look          what is there: state, reason and stamp of domains;  stats: what they used
//! stamp         what we write into a domain's metadata
//! xml           a domain as typed XML, of devices, layers (files below a disk) and elements
//! image         the XML inside a saved memory file, rewritten
//! host          capacity, identity and version;  bridge: the error about a bridge that is missing
//! capabilities  whether guests run under KVM or are emulated
//! folder        the folder that a file needs
//! options       the settings of the driver and of a host;  uri: which libvirt URIs are taken
//! failure       libvirt's errors as the engine's, one table
//! raw           the few functions that only `virt-sys` has: all `unsafe` of the crate
//! raw_jobs      those for jobs
//! ```
//!
//! **Why several roads.** A call blocks its lane for as long as libvirt needs. Calls that change a
//! domain have a road of four lanes. Looks and `destroy` have a second road. Calls that last as
//! long as a migration have a third. So four saves that are under way do not delay a look or a
//! destroy, and four migrations delay only a fifth migration. Each lane that is at work has a
//! connection of its own. Events come over one more connection, on which nobody calls: `road` says
//! why.
//!
//! **The reboot trap.** libvirt's ACPI reboot presses the power button and promises to turn the
//! "off" that follows into a reset. If the guest ignores the press, the promise stays: when the
//! guest switches itself off later, libvirt restarts it, once. libvirt takes the promise back when
//! a shutdown presses the button, and at a reset; so our own power-off and reset are never
//! affected. libvirt has no call that only takes the promise back. One case remains: a guest
//! ignores a reboot and switches itself off later. It comes up again, and the next time it stays
//! off.

mod adopt;
mod bridge;
mod calls;
mod capabilities;
mod copy;
mod devices;
mod differs;
mod domain_ops;
mod element;
mod failure;
mod feed;
mod folder;
mod host;
mod hotplug;
mod image;
mod jobs;
mod kvm;
mod lanes;
mod layers;
mod link;
mod links;
mod live;
mod locks;
mod look;
mod memory;
mod migrate;
mod options;
mod pulse;
mod raw;
mod raw_jobs;
mod resize;
mod road;
mod snapshots;
mod stamp;
mod stats;
mod tree;
mod uri;
mod xml;

pub use kvm::Kvm;
pub use options::{KvmOptions, settings};
