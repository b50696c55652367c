//! The words of other tools that have another meaning here, or none, with what is meant.

/// Words after one command, and the answer to them.
pub(super) struct Tip {
    /// The command that the words were typed after. Empty: `ostler` itself.
    pub(super) behind: &'static str,
    pub(super) words: &'static [&'static str],
    pub(super) tip: &'static str,
}

const fn tip(behind: &'static str, words: &'static [&'static str], tip: &'static str) -> Tip {
    Tip { behind, words, tip }
}

/// The table. A command that destroys something is only named together with what it destroys.
pub(super) const TIPS: &[Tip] = &[
    tip(
        "vm",
        &["destroy", "kill", "force-stop"],
        "`ostler vm poweroff --hard VM` pulls the plug and keeps the VM; `ostler vm delete VM` \
         DELETES it with its disks",
    ),
    tip(
        "vm",
        &["terminate", "decommission"],
        "`ostler vm poweroff VM` powers off and keeps the VM; `ostler vm shutdown VM` powers off \
         and DELETES it with its disks",
    ),
    tip(
        "vm",
        &["undefine", "unregister"],
        "`ostler vm undeploy VM` takes it off its host and keeps it; `ostler vm delete VM` DELETES \
         it with its disks",
    ),
    tip(
        "vm",
        &["purge", "drop", "erase", "end"],
        "`ostler vm delete VM` DELETES it with its disks; `ostler vm undeploy VM` takes it off its \
         host and keeps it",
    ),
    tip(
        "vm",
        &["off", "halt", "down", "power", "acpi-shutdown", "turn-off"],
        "`ostler vm poweroff VM` powers off and keeps its disks",
    ),
    tip("vm", &["on", "up", "power-on", "poweron", "run", "turn-on"], "`ostler vm start VM`"),
    tip(
        "vm",
        &["pause", "freeze", "sleep", "hibernate", "save", "managedsave"],
        "`ostler vm suspend VM` saves its memory to a file, `resume` has it go on; it is never \
         paused with its memory in place",
    ),
    tip(
        "vm",
        &["unpause", "restore", "wake", "wakeup", "continue", "unsuspend"],
        "`ostler vm resume VM`",
    ),
    tip(
        "vm",
        &[
            "console",
            "serial",
            "tty",
            "attach",
            "ssh",
            "vnc",
            "viewer",
            "display",
            "vncdisplay",
            "spice",
            "exec",
            "enter",
            "monitor",
        ],
        "`ostler vm console-log -f VM` shows what its serial console prints; to type into it use \
         the hypervisor's own tool on its host (`virsh console DOMAIN`), `ostler vm show VM` names \
         both",
    ),
    tip(
        "vm",
        &["edit", "set", "modify", "change", "configure", "config", "patch", "update-spec"],
        "`ostler vm resize` changes CPUs and memory, `disk-attach` and `nic-attach` add to it, \
         `rename` its name, `update` its user data; the rest is fixed when it is created",
    ),
    tip(
        "vm",
        &["setmem", "setmaxmem", "setvcpus", "scale", "memory", "cpu", "vcpus"],
        "`ostler vm resize VM --vcpus 4 --memory 2GiB`",
    ),
    tip(
        "vm",
        &["clone", "copy", "cp", "duplicate", "template", "save-as", "saveas"],
        "`ostler vm disk-snapshot VM DISK IMAGE --live` makes an image of a disk; create the other \
         VM from that image",
    ),
    tip(
        "vm",
        &["ip", "ips", "address", "addresses", "addr", "domifaddr", "net", "network"],
        "Ostler does not learn the addresses of guests; `ostler vm show VM` has the MAC of each \
         network card to look up where addresses are given out (DHCP)",
    ),
    tip(
        "vm",
        &["new", "launch", "define", "apply", "instantiate", "deploy-from", "create-vm"],
        "`ostler vm create -f FILE`; `ostler help spec` shows such a file",
    ),
    tip(
        "vm",
        &["adopt", "import", "register"],
        "`ostler host adopt HOST DOMAIN` makes a domain that is there a VM",
    ),
    tip(
        "vm",
        &["detach-disk", "disk-remove", "disk-rm", "disk-delete", "detach-volume", "unplug"],
        "`ostler vm disk-detach VM DISK` unplugs a disk and DELETES it; `ostler vm disk-snapshot \
         VM DISK IMAGE --live` saves it as an image first",
    ),
    tip(
        "vm",
        &["disk-add", "attach-volume", "add-disk", "plug"],
        "`ostler vm disk-attach VM --blank 1GiB` (or --image, --swap)",
    ),
    tip(
        "vm",
        &["disk-resize", "resize-disk", "blockresize", "grow", "extend"],
        "a disk keeps the size it was made with; `ostler vm disk-attach VM --blank 10GiB` adds \
         another one",
    ),
    tip(
        "vm",
        &["nic-add", "add-nic", "nic-remove", "nic-delete", "nic-rm"],
        "`ostler vm nic-attach VM --bridge BRIDGE`, `ostler vm nic-detach VM MAC`",
    ),
    tip(
        "vm",
        &["snapshot", "snap", "checkpoint", "snapshot-create-as", "take-snapshot"],
        "`ostler vm snapshot-create VM [LABEL]`; `ostler vm snapshots VM` lists them",
    ),
    tip(
        "vm",
        &["rollback", "revert", "snapshot-rollback"],
        "`ostler vm snapshot-revert VM SNAPSHOT`; `ostler vm snapshots VM` lists them",
    ),
    tip(
        "vm",
        &["status", "state", "domstate", "health", "explain", "events", "history"],
        "`ostler vm why VM` says what it waits for, `ostler vm show VM` everything, `ostler event \
         watch --vm VM` what happens to it",
    ),
    tip(
        "vm",
        &["dumpxml", "xml", "yaml", "json", "dump", "export"],
        "`ostler vm show VM -o yaml` (or json)",
    ),
    tip(
        "vm",
        &["stats", "domstats", "usage", "metrics", "counters"],
        "`ostler vm show VM` has what it uses, `ostler vm top` what is going on",
    ),
    tip("vm", &["operations", "jobs", "tasks", "op", "ops"], "`ostler operation list VM`"),
    tip(
        "vm",
        &["watch"],
        "`ostler vm list --watch`, `ostler vm show VM --watch`, `ostler event watch --vm VM`",
    ),
    tip(
        "vm",
        &["wait"],
        "verbs wait by themselves; `ostler operation show ID --wait` waits for one that was asked \
         for before",
    ),
    tip(
        "vm",
        &["cancel", "abort", "stop-operation", "unlock"],
        "an operation goes on until it ends; `ostler vm why VM` says what can be asked for \
         meanwhile (a --hard verb overtakes a soft one)",
    ),
    tip(
        "vm",
        &["retry", "undo", "repair", "fix"],
        "`ostler vm recover VM --retry` (or --undo) for a VM that failed; `ostler vm why VM` says \
         what is possible",
    ),
    tip(
        "vm",
        &["label", "tag", "labels", "annotate"],
        "labels are given in the file a VM is created from, and stay",
    ),
    tip(
        "vm",
        &["autostart", "ha"],
        "a VM that was off stays off after its host was; `ostler vm start VM` starts it",
    ),
    tip(
        "vm",
        &["mv", "evacuate", "relocate"],
        "`ostler vm migrate VM HOST` moves it, `ostler vm resched VM` has the scheduler choose; \
         `ostler vm rename VM NEW` changes its name",
    ),
    tip("vm", &["cron", "plan", "at"], "`ostler vm schedule VM VERB --at 'daily 02:00'`"),
    tip(
        "host",
        &["evacuate", "maintenance", "maint", "maintain", "flush", "empty"],
        "`ostler host draining HOST` places nothing more there; `ostler vm list --host HOST -o \
         name | xargs ostler vm resched` has its VMs moved",
    ),
    tip(
        "host",
        &["offline", "down", "stop"],
        "`ostler host off HOST` leaves it alone; `ostler host draining HOST` only places nothing \
         more there",
    ),
    tip("host", &["up", "online", "start", "resume", "activate"], "`ostler host on HOST`"),
    tip(
        "host",
        &["edit", "set", "modify", "update", "label", "config", "configure"],
        "`ostler host change HOST --label KEY=VALUE --set KEY=VALUE`",
    ),
    tip(
        "host",
        &["import", "wild", "domains", "zombies"],
        "`ostler host show HOST` lists wild domains and zombies; `ostler host adopt HOST DOMAIN` \
         makes a wild one a VM",
    ),
    tip("host", &["vms"], "`ostler vm list --host HOST`"),
    tip(
        "image",
        &["upload", "import", "pull", "download", "push", "build"],
        "put the file into the directory of an image datastore, then `ostler image add NAME --path \
         DATASTORE:FILE`",
    ),
    tip(
        "image",
        &["edit", "set", "resize", "clone", "rename"],
        "an image stays as it was added; add another one",
    ),
    tip(
        "datastore",
        &["edit", "set", "change", "update", "rename"],
        "a datastore stays as it was added; remove it while nothing uses it and add it anew",
    ),
    tip(
        "driver",
        &["reload", "upgrade", "update"],
        "`ostler driver add FILE|URL --replace` puts a driver in the place of the one of the same name; \
         `ostler driver rollback` puts the file before back",
    ),
    tip(
        "driver",
        &["pull", "fetch", "download", "upload", "push"],
        "`ostler driver add` takes a URL (https://... or oci://REF); `ostler plugin pull` fetches \
         only the file, `ostler plugin push` puts one into a registry",
    ),
    tip("plugin", &["publish", "upload", "deploy", "release"], "`ostler plugin push FILE REF`"),
    tip("plugin", &["fetch", "download", "get"], "`ostler plugin pull REF`"),
    tip("plugin", &["compile", "make"], "`ostler plugin build`"),
    tip(
        "plugin",
        &["login", "logout"],
        "`docker login` and `podman login` keep logins that `push` and `pull` take; or --username",
    ),
    tip("plugin", &["install", "add", "load"], "`ostler driver add FILE|URL`"),
    tip(
        "operation",
        &["cancel", "abort", "kill", "stop", "delete"],
        "an operation goes on until it ends; `ostler vm why VM` says what can be asked for \
         meanwhile",
    ),
    tip(
        "operation",
        &["retry", "undo", "recover"],
        "`ostler vm recover VM --retry` (or --undo) for a VM that failed",
    ),
    tip("operation", &["wait", "watch", "follow"], "`ostler operation show ID --wait`, or --watch"),
    tip(
        "event",
        &["list", "ls", "show", "get", "log"],
        "`ostler event watch --after 0` prints all that are kept and goes on",
    ),
    tip("admin", &["restore"], "on a stopped daemon: `ostlerd --data-dir DIR --restore FILE`"),
    tip(
        "admin",
        &["fsck", "verify", "doctor", "health", "status"],
        "`ostler admin check`; `ostler version` says whether the daemon answers",
    ),
    tip("", &["node", "nodes", "server", "servers", "hypervisor", "hypervisors"], "`ostler host`"),
    tip(
        "",
        &["storage", "pool", "pools", "volume", "volumes", "disk", "disks"],
        "`ostler datastore` and `ostler image`; disks belong to VMs: `ostler vm disk-attach`",
    ),
    tip(
        "",
        &["network", "networks", "net", "vnet", "bridge"],
        "a network card names a bridge of its host: `ostler vm nic-attach VM --bridge BRIDGE`; \
         Ostler does not manage networks",
    ),
    tip(
        "",
        &["user", "users", "group", "groups", "acl", "login", "role", "quota"],
        "there are tokens only, which may everything or read: `ostler token`",
    ),
    tip("", &["backup"], "`ostler admin backup FILE`"),
    tip(
        "",
        &["status", "info", "ping", "health"],
        "`ostler version` says whether the daemon answers, `ostler vm top` what is going on, \
         `ostler admin check` whether the books add up",
    ),
    tip("", &["task", "tasks", "job", "jobs"], "`ostler operation`"),
    tip("", &["ps"], "`ostler vm list`"),
    tip(
        "",
        &["instance", "instances", "guest", "guests", "domain", "domains", "machine", "machines"],
        "`ostler vm`",
    ),
];
