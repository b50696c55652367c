//! `ostler host`.

use crate::context::{Context, remove_each};
use crate::cpus::cpus;
use crate::out::Row;
use crate::pairs::{line, map, pair};
use crate::retry::{key, patiently};
use crate::secret::{self, HostSecretCommand};
use crate::show::Page;
use crate::table::{Cell, Tone};
use crate::text::{complaint, count, moment, now};
use crate::vm::wait;
use crate::watch::{self, Watch};
use crate::{Exit, Failure};
use clap::{Args, Subcommand};
use ostler_api::{
    AdoptBody, ChangeHost, Client, CpuMilli, DriverOrigin, Host, NewHost, PlanPreview, Sent, Size,
    Span, SshAddress,
};
use std::time::Duration;

/// How long to wait until a new host was looked at, and the pause between two questions.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Adds a host
    #[command(alias = "create")]
    Add(Box<AddHost>),
    /// Lists hosts
    #[command(alias = "ls")]
    List(Watch),
    /// Shows all about a host
    #[command(aliases = ["info", "get", "describe", "inspect"])]
    Show {
        /// Its name or id
        host: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Changes labels or settings of a host; what is given replaces what was there
    Change {
        /// Its name or id
        host: String,
        /// A label, for people: placement does not look at it; all labels are replaced
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        /// A setting of the driver for this host; all settings are replaced
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
        config: Vec<(String, String)>,
    },
    /// Lets VMs be placed on hosts
    #[command(aliases = ["enable", "uncordon", "undrain"])]
    On {
        /// Names or ids
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Places no more VMs on hosts; those there stay and go on
    #[command(aliases = ["drain", "cordon", "disable"])]
    Draining {
        /// Names or ids
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Leaves hosts alone: nothing is placed there, nothing is monitored
    Off {
        /// Names or ids
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Makes a wild domain (one that Ostler did not make) a VM: it stays as it is, and its disks
    /// are never removed
    Adopt(AdoptArgs),
    /// Has the snapshot rules of one driver count on a host, before those bound to its hypervisor
    /// driver
    BindRules {
        /// The host: name or id
        host: String,
        /// The driver that holds the rules: snapshots-kvm
        rules: String,
    },
    /// Removes that binding; then the rules of its hypervisor driver apply again
    UnbindRules {
        /// The host: name or id
        host: String,
    },
    #[command(flatten)]
    Secrets(HostSecretCommand),
    /// Removes hosts that have no VM
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// Names or ids
        #[arg(required = true)]
        hosts: Vec<String>,
        /// State that they are fenced and do not come back: what VMs left there is not waited for
        /// any more
        #[arg(long)]
        fenced: bool,
    },
}

/// A domain to adopt.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The host: name or id
    host: String,
    /// The domain: its name or UUID at the hypervisor; `host show` lists wild ones
    domain: String,
    /// The name of the VM, instead of the domain's name
    #[arg(long)]
    name: Option<String>,
    /// Adopt it although it would be another machine from its next start on; --dry-run lists in
    /// what
    #[arg(long)]
    accept_changes: bool,
    /// Change nothing, and list in what it would be another machine from its next start on
    #[arg(long)]
    dry_run: bool,
    /// Return as soon as it is a VM, before the domain is marked as its own
    #[arg(long)]
    no_wait: bool,
    /// How long to wait at most
    #[arg(long, default_value = wait::TIMEOUT, value_name = "TIME")]
    timeout: Span,
}

/// A host to add.
#[derive(Debug, Args)]
pub struct AddHost {
    /// Its name; unique
    name: String,
    /// Its hypervisor driver: kvm, sim, ...
    #[arg(long, value_name = "NAME")]
    driver: String,
    /// A setting of the driver for this host (kvm: uri=qemu:///system)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// A label, for people: placement does not look at it
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// CPUs it offers; as probed if not given
    #[arg(long, value_name = "NUMBER", value_parser = cpus, requires = "memory")]
    cpu: Option<CpuMilli>,
    /// Memory it offers: 8GiB; as probed if not given
    #[arg(long, value_name = "SIZE", requires = "cpu")]
    memory: Option<Size>,
    /// on, draining or off
    #[arg(long, default_value = "on")]
    state: String,
    /// Reached over ssh: USER@ADDRESS; this machine if not given
    #[arg(long, value_name = "DESTINATION")]
    ssh: Option<String>,
    /// The ssh port
    #[arg(long, value_name = "PORT", requires = "ssh")]
    ssh_port: Option<u16>,
    /// The private key, a file on the daemon's machine
    #[arg(long, value_name = "FILE", requires = "ssh")]
    ssh_identity: Option<String>,
    /// The known-hosts file that holds the host's key, on the daemon's machine
    #[arg(long, value_name = "FILE", requires = "ssh")]
    ssh_known_hosts: Option<String>,
}

impl AddHost {
    fn body(self) -> NewHost {
        let (port, identity_file, known_hosts) =
            (self.ssh_port, self.ssh_identity, self.ssh_known_hosts);
        NewHost {
            name: self.name,
            driver: self.driver,
            config: map(&self.config),
            ssh: self.ssh.map(|destination| SshAddress {
                destination,
                port,
                identity_file,
                known_hosts,
            }),
            labels: map(&self.labels),
            cpu: self.cpu,
            memory: self.memory,
            state: Some(self.state),
        }
    }
}

fn health(host: &Host) -> &'static str {
    match &host.health {
        Some(health) if health.reachable => "yes",
        Some(_) => "no",
        None => "-",
    }
}

impl Row for Host {
    const HEADINGS: &'static [&'static str] =
        &["ID", "NAME", "STATE", "REACHED", "DRIVER", "VMS", "CPUS", "MEMORY"];
    const WIDER: &'static [&'static str] = &["TRANSPORT", "LABELS", "HYPERVISOR", "ADDED"];

    fn cells(&self) -> Vec<Cell> {
        // Before the first look the host's capacity is not known.
        let known = self.memory.0 > 0;
        vec![
            self.id.into(),
            Cell::from(&self.name),
            Cell::state(&self.state),
            Cell::state(health(self)),
            Cell::maybe(self.driver.as_ref().map(|driver| &driver.name)),
            self.vms.into(),
            Cell::maybe(known.then(|| format!("{} of {}", self.cpu_held, self.cpu))),
            Cell::maybe(known.then(|| format!("{} of {}", self.memory_held, self.memory))),
            Cell::from(&self.transport),
            line(&self.labels).into(),
            Cell::maybe(self.health.as_ref().map(|health| &health.hypervisor)),
            self.added.into(),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

fn page(cx: &Context, host: &Host) -> String {
    let now = now();
    let mut page = Page::new(cx.out.colour);
    page.section("Information")
        .pair("ID", host.id)
        .pair("Name", &host.name)
        .state("State", &host.state);
    page.pair("Transport", &host.transport).pair("Added", moment(now, host.added));
    page.pair_if("Labels", Some(line(&host.labels)).filter(|labels| !labels.is_empty()));
    if let Some(driver) = &host.driver {
        page.section("Driver").pair("Name", &driver.name).pair("Settings", line(&driver.config));
        page.pair_if(
            "Secrets set",
            Some(driver.secrets.join(" ")).filter(|names| !names.is_empty()),
        );
        page.pair_if("Snapshot rules", host.rules.as_ref());
    }
    page.section("Capacity");
    page.pair("VMs", host.vms);
    page.pair("CPU", format!("{} of {} CPUs reserved", host.cpu_held, host.cpu));
    page.pair("Memory", format!("{} of {} reserved", host.memory_held, host.memory));
    page.section("Health");
    match &host.health {
        None => {
            page.line("not asked yet");
        }
        Some(health) => {
            page.state("Reached", if health.reachable { "yes" } else { "no" })
                .pair("Since", moment(now, health.since));
            if let Some(error) = &health.error {
                page.pair("Error", Cell::toned(error, Tone::Bad));
            }
            page.pair("Hypervisor", &health.hypervisor)
                .pair("Abilities", health.abilities.join(" "));
            page.pair_if("Wild", Some(health.wild.join(" ")).filter(|wild| !wild.is_empty()));
            page.pair_if(
                "Zombies",
                Some(health.zombies.join(" ")).filter(|zombies| !zombies.is_empty()),
            );
            for note in &health.notes {
                page.pair("Note", note);
            }
        }
    }
    page.done()
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: HostCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        HostCommand::Add(add) => add_it(cx, &client, &add.body()).await,
        HostCommand::List(watch) => {
            watch::run(cx, &watch, async || cx.out.rows(&client.hosts().await?)).await
        }
        HostCommand::Show { host, watch } => {
            watch::run(cx, &watch, async || {
                let host = client.host(&host).await?;
                cx.out.one(&host, &host.name, || page(cx, &host))
            })
            .await
        }
        HostCommand::Change { host, labels, config } => {
            if labels.is_empty() && config.is_empty() {
                return Err(Failure::usage("nothing to change")
                    .hint("say --label KEY=VALUE or --set KEY=VALUE"));
            }
            let some = |pairs: &[(String, String)]| (!pairs.is_empty()).then(|| map(pairs));
            let change = ChangeHost { state: None, labels: some(&labels), config: some(&config) };
            let host = client.change_host(&host, &change).await?;
            cx.out.write(
                &cx.out.one(&host, &host.name, || {
                    format!("host {} {}: changed\n", host.id, host.name)
                })?,
            )
        }
        HostCommand::On { hosts } => turn(cx, &hosts, "on").await,
        HostCommand::Draining { hosts } => turn(cx, &hosts, "draining").await,
        HostCommand::Off { hosts } => turn(cx, &hosts, "off").await,
        HostCommand::Adopt(args) => adopt(cx, args).await,
        HostCommand::BindRules { host, rules } => {
            let host = client.bind_host_rules(&host, &rules).await?;
            cx.out.write(&cx.out.one(&host, &host.name, || {
                format!("host {} {}: the rules of {rules} count\n", host.id, host.name)
            })?)
        }
        HostCommand::UnbindRules { host } => {
            client
                .unbind_host_rules(&host)
                .await
                .map_err(|err| Failure::from(err).about(&format!("host {host}")))?;
            cx.out.line(&if cx.out.for_people() {
                format!("host {host}: the rules of its driver count")
            } else {
                host
            })
        }
        HostCommand::Secrets(command) => secret::of_host(cx, &client, command).await,
        HostCommand::Remove { hosts, fenced } => {
            remove_each(cx, "host", &hosts, |name| {
                let client = client.clone();
                async move {
                    if fenced {
                        client.remove_fenced_host(&name).await
                    } else {
                        client.remove_host(&name).await
                    }
                }
            })
            .await
        }
    }
}

/// Adds a host. For people it waits for the first look and prints whether the host answers, because
/// wrong settings show there.
async fn add_it(cx: &Context, client: &Client, new: &NewHost) -> Result<(), Failure> {
    let mut host = client.add_host(new).await?;
    let began = std::time::Instant::now();
    while cx.out.for_people()
        && host.health.is_none()
        && host.state != "off"
        && began.elapsed() < FIRST_LOOK
    {
        tokio::time::sleep(LOOK_AGAIN).await;
        host = client.host(&host.name).await?;
    }
    let answers = match &host.health {
        Some(health) if health.reachable => format!(", it answers: {}", health.hypervisor),
        Some(_) => ", it does not answer".to_owned(),
        None => String::new(),
    };
    let line = || format!("host {} {}: added, {}{answers}\n", host.id, host.name, host.state);
    cx.out.write(&cx.out.one(&host, &host.name, line)?)?;
    if let Some(error) = host.health.as_ref().and_then(|health| health.error.as_ref()) {
        crate::out::aside(&format!("warning: {}", crate::text::clean(error)));
        if let Some(missing) = not_granted(client, &host).await {
            crate::out::aside(&format!("hint: {missing}"));
        }
        let mends =
            format!("`ostler host change {} --set KEY=VALUE` mends its settings", host.name);
        crate::out::aside(&format!("hint: {mends}; it is asked again and again"));
    }
    Ok(())
}

/// What the host's driver asks for and was not granted, with the command that grants it.
async fn not_granted(client: &Client, host: &Host) -> Option<String> {
    let driver = client.driver(&host.driver.as_ref()?.name).await.ok()?;
    let DriverOrigin::Component { missing, .. } = &driver.origin else { return None };
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "driver {} asks for {}, and that is not granted; `ostler driver add FILE --replace --grant \
         all` grants it",
        driver.name,
        missing.join(", ")
    ))
}

async fn adopt(cx: &Context, args: AdoptArgs) -> Result<(), Failure> {
    let client = cx.client()?;
    let deadline = wait::Deadline::after(args.timeout.duration());
    let body = AdoptBody {
        domain: args.domain.clone(),
        name: args.name,
        accept_changes: args.accept_changes,
    };
    if args.dry_run {
        let plan = client.preview_adoption(&args.host, &body).await?;
        return cx.out.write(&cx.out.one(&plan, &args.domain, || changes_of(&args.domain, &plan))?);
    }
    let sent = Sent {
        wait: (!args.no_wait).then(|| deadline.part()),
        idempotency_key: Some(key()),
        ..Sent::default()
    };
    let mut reply = patiently(|| client.adopt(&args.host, &body, &sent)).await?;
    if !args.no_wait
        && let Some(operation) = reply.operation.take()
    {
        let id = operation.id;
        let Some(ended) =
            wait::unless_interrupted(wait::for_end(&client, operation, deadline)).await
        else {
            crate::out::aside(&format!(
                "\noperation {id} (adopt) goes on: `ostler operation show {id} --wait`"
            ));
            return Err(Failure::silent(Exit::Interrupted));
        };
        reply.operation = Some(ended?);
    }
    let id = reply.vm.to_string();
    let failed = reply
        .operation
        .as_ref()
        .is_some_and(|operation| operation.outcome.as_deref() == Some("failed"));
    let told = match (failed, reply.state.as_str()) {
        (true, "done") => "not adopted: its domain stays as it was".to_owned(),
        (true, state) => format!(
            "adopted from {}, {state}; it is not known whether its domain carries the VM's mark",
            args.host
        ),
        (false, state) => format!("adopted from {}, {state}", args.host),
    };
    cx.out.write(&cx.out.one(&reply, &id, || format!("vm {id}: {told}\n"))?)?;
    let Some(operation) = reply.operation.as_ref().filter(|_| !args.no_wait) else { return Ok(()) };
    match (operation.outcome.as_deref(), &operation.error) {
        (Some("succeeded"), _) => Ok(()),
        (None, _) => Err(Failure::new(
            Exit::TimedOut,
            format!("vm {id}: its domain is not marked yet; it goes on"),
        )
        .hint(format!("`ostler operation show {} --wait`", operation.id))),
        (Some(outcome), error) => {
            let why =
                error.as_ref().map_or_else(String::new, |error| format!(": {}", complaint(error)));
            let failure =
                Failure::new(Exit::Refused, format!("vm {id}: marking its domain {outcome}{why}"));
            Err(failure.hint(format!("`ostler vm why {id}` says what can be done")))
        }
    }
}

/// The changes that an adoption would bring, for people.
fn changes_of(domain: &str, plan: &PlanPreview) -> String {
    if plan.changes.is_empty() {
        return format!("domain {domain}: would be adopted, and stays the machine that it is\n");
    }
    let told =
        if plan.allowed { "would be adopted" } else { "would be refused without --accept-changes" };
    let changes: String =
        plan.changes.iter().map(|change| format!("  {}\n", crate::text::clean(change))).collect();
    format!("domain {domain}: {told}. From its next start on it is another machine:\n{changes}")
}

async fn turn(cx: &Context, hosts: &[String], state: &str) -> Result<(), Failure> {
    let client = cx.client()?;
    let mut changed = Vec::new();
    for name in hosts {
        let change = ChangeHost { state: Some(state.to_owned()), ..ChangeHost::default() };
        changed.push(
            client
                .change_host(name, &change)
                .await
                .map_err(|err| Failure::from(err).about(&format!("host {name}")))?,
        );
    }
    cx.out.write(&cx.out.rows(&changed)?)?;
    for host in
        changed.iter().filter(|host| state == "draining" && host.vms > 0 && cx.out.for_people())
    {
        crate::out::aside(&format!(
            "hint: {} on {} stay there: `ostler vm list --host {1} -o name | xargs ostler vm \
             resched` moves them",
            count(usize::try_from(host.vms).unwrap_or(usize::MAX), "VM"),
            host.name
        ));
    }
    Ok(())
}
