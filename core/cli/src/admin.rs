//! `ostler admin`: backup and check of the daemon's store, and its state after a restore.

use crate::context::Context;
use crate::table::Tone;
use crate::text::count;
use crate::{Exit, Failure};
use clap::Subcommand;
use ostler_api::{RestoredReply, UnreconciledVm};
use std::path::{Path, PathBuf};

/// Looking after the daemon.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Writes a consistent copy of the store while everything goes on; `ostlerd --restore` takes it
    /// back. It holds the secrets of drivers in plain text
    Backup {
        /// The file to write, on the daemon's machine; must not exist yet
        file: PathBuf,
    },
    /// Checks that the books add up; exit code 1 if they do not
    Check,
    /// After a restore from a backup: which VMs wait until it is known where they are, and why
    Restored {
        /// States that Ostler's record of this VM is right: a newer domain that a host has is NOT
        /// the VM. Make sure of that first, because Ostler may start the VM then
        #[arg(long, value_name = "VM", num_args = 1..)]
        accept: Vec<String>,
    },
}

/// A path as it is sent to the daemon. A relative path counts from the current directory. This
/// makes sense only if the daemon is on the same machine; otherwise it is refused.
pub(crate) fn path_on_daemon(cx: &Context, path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    if !path.is_absolute() && !cx.is_local() {
        let failure = Failure::usage(format!(
            "{shown} is relative, and the daemon may be on another machine"
        ));
        return Err(failure.hint("write the absolute path on the daemon's machine"));
    }
    let absolute =
        std::path::absolute(path).map_err(|err| Failure::usage(format!("{shown}: {err}")))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|_| Failure::usage("the path is no UTF-8 text"))
}

/// The table of VMs that are not reconciled after a restore.
fn waiting(restored: &RestoredReply, colour: bool) -> String {
    if !restored.waits {
        return "nothing waits: the store was not restored, or all its VMs are reconciled\n"
            .to_owned();
    }
    let mut text = format!(
        "{} not reconciled since the restore\n",
        count(usize::try_from(restored.total).unwrap_or(usize::MAX), "VM")
    );
    if !restored.hosts.is_empty() {
        text += &format!(
            "waits for: {} (set a host that is lost to off: ostler host off HOST)\n",
            restored.hosts.join(", ")
        );
    }
    let cells = |vm: &UnreconciledVm| {
        [vm.id.to_string(), vm.name.clone(), vm.why.clone(), vm.domains.join("; ")]
            .map(crate::table::Cell::from)
            .to_vec()
    };
    text + &crate::table::render(
        &["ID", "NAME", "WHY", "DOMAINS"],
        restored.vms.iter().map(cells).collect(),
        colour,
    )
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: AdminCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        AdminCommand::Backup { file } => {
            let made = client.backup(&path_on_daemon(cx, &file)?).await?;
            let line = || {
                format!("{}: {} rows, {} KiB\n", made.path, made.rows, made.bytes.div_ceil(1024))
            };
            cx.out.write(&cx.out.one(&made, &made.path, line)?)?;
            if cx.out.for_people() {
                crate::out::aside("the secrets of drivers are in it: let nobody else read it");
            }
            Ok(())
        }
        AdminCommand::Restored { accept } if !accept.is_empty() => {
            for vm in crate::range::expand(&accept)? {
                client.accept_record(&vm).await?;
                cx.out.write(&format!("vm {vm}: its record counts\n"))?;
            }
            Ok(())
        }
        AdminCommand::Restored { .. } => {
            let restored = client.restored().await?;
            cx.out.write(&cx.out.one(
                &restored,
                if restored.waits { "waits" } else { "reconciled" },
                || waiting(&restored, cx.out.colour),
            )?)
        }
        AdminCommand::Check => {
            let check = client.check().await?;
            let text = || {
                if check.ok {
                    return "the books add up\n".to_owned();
                }
                let rows = check
                    .findings
                    .iter()
                    .map(|finding| vec![crate::table::Cell::toned(finding, Tone::Bad)])
                    .collect();
                crate::table::render(&["FINDING"], rows, cx.out.colour)
            };
            cx.out.write(&cx.out.one(&check, if check.ok { "ok" } else { "findings" }, text)?)?;
            if check.ok {
                return Ok(());
            }
            let failure = Failure::new(
                Exit::Refused,
                format!("the books do not add up: {}", count(check.findings.len(), "finding")),
            );
            Err(failure.hint(
                "make a backup (`ostler admin backup FILE`) and report this with the daemon's log",
            ))
        }
    }
}
