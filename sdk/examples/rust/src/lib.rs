//! One QEMU process for each domain, without libvirt.

use ostler_sdk::host::{clock, config, exec, files, socket};
use ostler_sdk::{
    Call, DomainSeen, DomainSpec, EffectId, Error, ErrorKind, FilePath, Firmware, Graphics,
    HostFacts, Hypervisor, Listed, Observation, Outcome, Power, PowerReason, Stamped,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The record of a domain. It is written before QEMU starts.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    spec: DomainSpec,
    last_edge: Option<EffectId>,
}

impl Stamped for Record {
    fn stamp(&self) -> Option<(&str, u64)> {
        Some((&self.spec.identity.store, self.spec.identity.generation))
    }
}

/// A file of a domain in the folder of this host.
fn file(vm: &str, kind: &str) -> Result<FilePath, Error> {
    let (datastore, folder) = (config::required("datastore")?, config::required("folder")?);
    Ok(FilePath::new(datastore, format!("{folder}/{vm}.{kind}")))
}

fn load(vm: &str) -> Result<Option<Record>, Error> {
    let Some(text) = files::read(&file(vm, "json")?)? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&text)?))
}

fn save(record: &Record) -> Result<(), Error> {
    files::write(&file(&record.spec.identity.vm, "json")?, &serde_json::to_vec(record)?)
}

/// The reason why the domain is off, if QEMU has not ended by itself. It has a file of its own,
/// because a destroy may come while a deploy writes the record.
fn off_because(vm: &str) -> Result<Option<PowerReason>, Error> {
    let word = files::read(&file(vm, "off")?)?.unwrap_or_default();
    Ok(PowerReason::parse(&String::from_utf8_lossy(&word)))
}

fn set_off_because(vm: &str, reason: PowerReason) -> Result<(), Error> {
    files::write(&file(vm, "off")?, reason.as_str().as_bytes())
}

/// How long QEMU may take for an answer, and how long the answer may be.
const WAIT_MS: u64 = 2000;
const LINE_MAX: usize = 64 * 1024;

/// Sends a command to the monitor of a domain's QEMU, and waits for its answer. QEMU's greeting and
/// its events may come before it.
fn ask(vm: &str, command: &str) -> Result<Value, Error> {
    let mut monitor = socket::connect("monitor", &[("file", &file(vm, "qmp")?.hole())])?;
    let mut say = |command: &str| -> Result<Value, Error> {
        monitor.write_all(format!("{}\n", json!({ "execute": command })).as_bytes())?;
        loop {
            let mut line: Value = serde_json::from_str(&monitor.read_line(LINE_MAX, WAIT_MS)?)?;
            if let Some(error) = line.get("error") {
                return Err(Error::refused("qemu-refused", format!("{command}: {error}")));
            }
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
        }
    };
    say("qmp_capabilities")?;
    say(command)
}

/// The power state of a domain. The process is the truth: nobody listens where none is.
fn power(vm: &str) -> Result<(Power, PowerReason), Error> {
    match ask(vm, "query-status") {
        Ok(answer) if answer["status"] == "running" => Ok((Power::Running, PowerReason::None)),
        Ok(_) => Ok((Power::Paused, PowerReason::None)),
        // QEMU removes its socket when it ends by itself.
        Err(error) if error.code == "no-socket" => {
            Ok((Power::Off, off_because(vm)?.unwrap_or(PowerReason::Guest)))
        }
        Err(error) if error.code == "refused" => {
            Ok((Power::Off, off_because(vm)?.unwrap_or(PowerReason::Crashed)))
        }
        Err(error) => Err(error),
    }
}

fn seen(record: &Record) -> Result<DomainSeen, Error> {
    let (power, reason) = power(&record.spec.identity.vm)?;
    Ok(DomainSeen {
        uuid: record.spec.identity.vm.clone(),
        name: record.spec.name.clone(),
        identity: Some(record.spec.identity.clone()),
        power,
        reason,
        last_edge: record.last_edge.clone(),
        extra: Vec::new(),
    })
}

/// Refuses a domain that this driver cannot make. Nothing is left out in silence.
fn possible(spec: &DomainSpec) -> Result<(), Error> {
    if spec.firmware != Firmware::Bios || spec.graphics != Graphics::None || !spec.nics.is_empty() {
        let told = "this driver has only BIOS, no screen and no network cards";
        return Err(Error::refused("not-possible", told));
    }
    let files = spec.disks.iter().map(|disk| &disk.file).chain([&spec.console_log]);
    // QEMU would take the text after a comma for an option.
    if let Some(file) = files.into_iter().find(|file| file.absolute.contains(',')) {
        let told = format!("the path {} has a comma", file.absolute);
        return Err(Error::refused("bad-path", told));
    }
    Ok(())
}

fn start(spec: &DomainSpec) -> Result<(), Error> {
    let vm = spec.identity.vm.as_str();
    if let Some((folder, _)) = spec.console_log.path.rsplit_once('/') {
        files::make_folder(&FilePath::new(spec.console_log.datastore.clone(), folder))?;
    }
    let mut holes = vec![
        ("name", spec.name.clone()),
        ("vm", vm.to_owned()),
        ("vcpus", spec.vcpus.to_string()),
        ("memory", spec.memory_mib.to_string()),
        ("pid", file(vm, "pid")?.hole()),
        ("monitor", file(vm, "qmp")?.hole()),
        ("console", spec.console_log.hole()),
    ];
    for disk in &spec.disks {
        holes.push(("disk", disk.file.hole()));
        holes.push(("format", disk.format.to_string()));
        holes.push(("readonly", if disk.read_only { "on" } else { "off" }.to_owned()));
    }
    holes.extend(spec.kernel.as_ref().map(|kernel| ("kernel", kernel.hole())));
    holes.extend(spec.initrd.as_ref().map(|initrd| ("initrd", initrd.hole())));
    if !spec.cmdline.is_empty() {
        holes.push(("cmdline", spec.cmdline.clone()));
    }
    let holes: Vec<_> = holes.iter().map(|(hole, value)| (*hole, value.as_str())).collect();
    exec::output("start", &holes).map(drop)
}

/// Ends QEMU, and waits until it is gone. A QEMU that does not answer is ended, too.
fn end(call: &Call, vm: &str) -> Result<(), Error> {
    let runs = || power(vm).map_or(true, |(power, _)| power != Power::Off);
    // A deploy may be starting it now. It reads this afterwards, and ends it.
    if runs() || off_because(vm)? == Some(PowerReason::Starting) {
        set_off_because(vm, PowerReason::Destroyed)?;
    }
    while runs() {
        call.go_on()?;
        exec::run("kill", &[("pid", &file(vm, "pid")?.hole())], &[])?;
        clock::sleep_ms(20)?;
    }
    Ok(())
}

/// The answer for a domain that was started, unless a destroy has come beside the start.
fn started(call: &Call, record: &Record) -> Result<Outcome, Error> {
    let vm = &record.spec.identity.vm;
    if off_because(vm)? == Some(PowerReason::Destroyed) {
        end(call, vm)?;
        return Err(Error::gone("destroyed", "it was destroyed while it was started"));
    }
    files::remove(&file(vm, "off")?)?;
    Ok(Outcome::seen(seen(record)?))
}

/// The driver.
pub struct TinyQemu;

ostler_sdk::export!(TinyQemu: Hypervisor; manifest = "manifest.toml");

impl Hypervisor for TinyQemu {
    fn probe() -> Result<HostFacts, Error> {
        // A datastore that is not there must be an error now, not when a VM is placed here.
        Self::list()?;
        let version = String::from_utf8_lossy(&exec::output("version", &[])?).into_owned();
        Ok(HostFacts {
            cpu_milli: config::number("cpu-milli", 0)?,
            memory_mib: config::number("memory-mib", 0)?,
            hypervisor: version.lines().next().unwrap_or("QEMU").to_owned(),
            ..HostFacts::default()
        })
    }

    fn deploy(call: &Call, spec: DomainSpec) -> Result<Outcome, Error> {
        let found = call.find(load)?;
        possible(&spec)?;
        let vm = spec.identity.vm.clone();
        if let Some(found) = &found
            && power(&vm)?.0 != Power::Off
        {
            if found.spec.identity != spec.identity {
                return Err(Error::refused("runs", "it runs for an older placement"));
            }
            // An earlier sending of this call has started it, and its answer was lost.
            return started(call, found);
        }
        let record = Record { spec, last_edge: found.and_then(|found| found.last_edge) };
        set_off_because(&vm, PowerReason::Starting)?;
        save(&record)?;
        call.go_on()?;
        start(&record.spec)?;
        started(call, &record)
    }

    fn press_power(call: &Call) -> Result<Outcome, Error> {
        let Some(mut record) = call.find(load)? else {
            return Err(Error::gone("no-domain", "there is no such domain"));
        };
        if record.last_edge.as_ref() != Some(&call.id()) {
            let vm = call.vm();
            if power(&vm)?.0 != Power::Running {
                return Err(Error::gone("not-running", "the domain does not run"));
            }
            // Written first, pressed second: a press that is lost is asked for again, and one too
            // many could not be taken back.
            record.last_edge = Some(call.id());
            save(&record)?;
            ask(&vm, "system_powerdown")?;
        }
        Ok(Outcome::seen(seen(&record)?))
    }

    fn destroy(call: &Call) -> Result<Outcome, Error> {
        let Some(record) = call.find(load)? else { return Ok(Outcome::absent()) };
        end(call, &call.vm())?;
        Ok(Outcome::seen(seen(&record)?))
    }

    fn remove(call: &Call) -> Result<Outcome, Error> {
        if call.find(load)?.is_some() {
            end(call, &call.vm())?;
        }
        // The record goes last: until then a call that was cut finds the domain.
        for kind in ["qmp", "pid", "off", "json"] {
            files::remove(&file(&call.vm(), kind)?)?;
        }
        Ok(Outcome::absent())
    }

    fn observe(vm: &str) -> Result<Observation, Error> {
        match load(vm)? {
            Some(record) => Ok(Observation::Present(seen(&record)?)),
            None => Ok(Observation::Absent),
        }
    }

    fn list() -> Result<Listed, Error> {
        let folder = FilePath::new(config::required("datastore")?, config::required("folder")?);
        let names = match files::list(&folder) {
            // Nothing was deployed here yet.
            Err(error) if error.kind == ErrorKind::Gone => Vec::new(),
            names => names?,
        };
        let mut listed = Listed::default();
        for vm in names.iter().filter_map(|name| name.strip_suffix(".json")) {
            match Self::observe(vm) {
                Ok(Observation::Present(domain)) => listed.domains.push(domain),
                Ok(Observation::Absent) => {}
                // One QEMU that hangs must not hide the others.
                Err(_) => listed.unreadable.push(vm.to_owned()),
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_sdk::Exit;
    use ostler_sdk::mock::{MockHost, each_cut};

    const VM: &str = "11111111-2222-3333-4444-555555555555";

    /// A host on which `start` makes a QEMU that answers, and `kill` ends it.
    fn host() -> MockHost {
        let socket = format!("tiny/{VM}.qmp");
        let (made, gone) = (socket.clone(), socket);
        MockHost::new()
            .setting("datastore", "system")
            .setting("folder", "tiny")
            .command("start", move |_, files| {
                if files.get("system", &made).is_some() {
                    return Ok(Exit::failure(1, "another process has locked the pid file"));
                }
                files.put("system", &made, "");
                Ok(Exit::success(""))
            })
            .command("kill", move |_, files| {
                files.take("system", &gone);
                Ok(Exit::success(""))
            })
            .peer_at("monitor", "file", |asked| {
                let status = String::from_utf8_lossy(asked).contains("query-status");
                let answer = if status { json!({"status": "running"}) } else { json!({}) };
                format!("{}\n{}\n", json!({"QMP": {}}), json!({"return": answer})).into_bytes()
            })
    }

    fn power_of(vm: &str) -> Power {
        power(vm).expect("it can be asked").0
    }

    #[test]
    fn a_deploy_that_is_stopped_anywhere_is_sent_again() {
        let begin = || {
            let host = host();
            let call = host.call(VM, 1);
            (host, call)
        };
        let stopped = each_cut(
            begin,
            |call| TinyQemu::deploy(call, call.domain()),
            |host| {
                assert_eq!(power_of(VM), Power::Running);
                assert_eq!(host.file("system", &format!("tiny/{VM}.off")), None);
            },
        );
        assert!(stopped > 10);
    }

    #[test]
    fn a_destroyed_domain_is_off_and_a_removed_one_is_gone() {
        let host = host();
        let call = host.call(VM, 1);
        TinyQemu::deploy(&call, call.domain()).expect("it starts");
        TinyQemu::destroy(&host.call(VM, 1)).expect("it ends");
        assert_eq!(power(VM), Ok((Power::Off, PowerReason::Destroyed)));
        TinyQemu::remove(&host.call(VM, 1)).expect("it goes");
        assert_eq!(TinyQemu::observe(VM), Ok(Observation::Absent));
    }
}
