//! Every sentence, with a name for each id. The golden is what operators read: look at its diff.

use super::*;
use expect_test::expect_file;
use ostler_engine::{
    Declined, Done, LastError, NotAdopted, NotCreated, Summary, Unusable, Waits, WaitsFor, WhyNot,
};
use ostler_model::*;
use std::collections::BTreeSet;
use strum::IntoEnumIterator;

/// Has a name for everything, except for things with the id 9.
struct Known;

impl Names for Known {
    fn host_name(&self, id: HostId) -> Option<String> {
        (id.0 != 9).then(|| format!("kvm{id}"))
    }

    fn datastore_name(&self, id: DatastoreId) -> Option<String> {
        (id.0 != 9).then(|| format!("store{id}"))
    }

    fn image_name(&self, id: ImageId) -> Option<String> {
        (id.0 != 9).then(|| format!("debian{id}"))
    }

    fn vm_name(&self, id: VmId) -> Option<String> {
        (id.0 != 9).then(|| format!("web{id}"))
    }
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("a valid name")
}

fn error() -> DriverError {
    DriverError::retry("no-route", "no route to host")
}

fn invalid() -> InvalidSpec {
    InvalidSpec { field: "memory".to_owned(), problem: "must be above 0".to_owned() }
}

fn never() -> InvalidSchedule {
    InvalidSchedule { field: "when".to_owned(), problem: "never occurs".to_owned() }
}

const HOST: HostId = HostId(3);
const GIB: Capacity = Capacity { cpu_milli: 1500, memory_mib: 1024 };

fn of_the_vm() -> Vec<Cause> {
    let (operation, doing) = (OperationId(5), Verb::Poweroff);
    vec![
        Cause::Version { has: Version(4), wanted: Version(3) },
        Cause::WrongState { state: State::Hold },
        Cause::Busy { operation, doing },
        Cause::DisksBusy { operation, doing },
        Cause::AtOneOfTwoHosts,
        Cause::FailedOtherwise,
        Cause::GuestCannotAnswer { reason: Reason::GuestCrashed },
        Cause::GuestCannotAnswer { reason: Reason::IoError },
        Cause::PausedWithDisks,
        Cause::PausedWithMemory,
        Cause::NotOff { seen: Shown::Running },
        Cause::OffUnseen { error: Some(error()) },
        Cause::OffUnseen { error: None },
        Cause::AnswersForForget,
        Cause::AnswersForFence,
        Cause::AnswersWith { seen: Shown::AboveIssued },
        Cause::HasDomain,
        Cause::MayStillRun,
        Cause::FilesOnLostHost,
        Cause::NothingFailed { state: State::Running },
        Cause::NoStepOfMigration,
        Cause::ArrivalUnseen { seen: Some(Shown::Paused) },
        Cause::ArrivalUnseen { seen: None },
        Cause::BeingDeleted,
        Cause::NoWayBack { restored: true },
        Cause::NoWayBack { restored: false },
        Cause::Uncheckable { step: StepKind::CopyIn },
        Cause::Uncheckable { step: StepKind::DetachNic },
        Cause::OtherHostUnseen,
        Cause::SuccessUnseen { error: Some(error()) },
        Cause::SuccessUnseen { error: None },
        Cause::GoalUnseen { goal: Goal::Running, seen: Shown::Off },
        Cause::NotReconciled,
        Cause::NewerElsewhere { host: HOST, domain: "one-7".to_owned() },
    ]
}

fn refused_claim(book: Book, key: BookKey, amount: Option<Amount>, lack: Lack) -> ClaimRefused {
    ClaimRefused {
        claim: Claim { holding: Holding { book, key, amount }, bound: Bound::Limit },
        lack,
    }
}

fn taken_address() -> ClaimRefused {
    let mac: MacAddress = named("52:54:00:00:00:01");
    refused_claim(Book::Mac, (&mac).into(), None, Lack::Taken { by: VmId(1), name: named("web") })
}

fn of_places() -> Vec<Cause> {
    let unfit = [
        Unfit::NoHypervisor,
        Unfit::NoStorage,
        Unfit::Leftover,
        Unfit::OneHypervisor(named("kvm1")),
        Unfit::OneFileSystem(named("kvm1")),
        Unfit::NoBridge("br7".to_owned()),
    ];
    let claim = |(book, key, amount): (Book, BookKey, Amount), lack| {
        Cause::Claim(Box::new(refused_claim(book, key, Some(amount), lack)))
    };
    let capacity = || (Book::Host, HOST.into(), GIB.into());
    let image = || (Book::Image, ImageId(2).into(), Amount::ONE);
    let closed = |state: &str| Lack::Closed {
        called: "as it was called".to_owned(),
        state: state.to_owned(),
    };
    let removed = || (Book::Host, HostId(9).into(), GIB.into());
    let mut causes = vec![
        Cause::NoPlace,
        Cause::NoHostNamed,
        Cause::NoSuchHost { host: HostId(9) },
        Cause::SameHost { host: HOST },
        Cause::OtherDriver { host: HOST, has: named("xen"), needs: named("kvm") },
        Cause::NotOffered { ability: Ability::Suspend },
        Cause::NotOfferedThere { ability: Ability::Migrate },
        Cause::AdoptedDisk { disk: named("vda") },
        claim(capacity(), Lack::Missing),
        claim(capacity(), closed("draining")),
        claim(
            capacity(),
            Lack::Full {
                called: "as it was called".to_owned(),
                taken: GIB.into(),
                limit: GIB.into(),
            },
        ),
        claim(removed(), closed("draining")),
        claim(removed(), Lack::Missing),
        claim(image(), Lack::Missing),
        claim(image(), closed("locked")),
        Cause::Claim(Box::new(taken_address())),
        Cause::Resource(ResourceRefused::NotFound { what: Resource::Image(ImageId(9)) }),
    ];
    causes.extend(unfit.map(|why| Cause::HostUnfit { host: HOST, why }));
    causes
}

fn of_requests() -> Vec<Cause> {
    let (label, disk): (String, DiskName) = ("before".to_owned(), named("vda"));
    let parts = [Part::Vm, Part::Disk, Part::Nic, Part::Size];
    let mut causes: Vec<Cause> = parts.map(|part| Cause::Invalid { part, error: invalid() }).into();
    causes.extend([
        Cause::NoArguments,
        Cause::NoDisk { disk: disk.clone() },
        Cause::NoDiskToSave { disk: disk.clone() },
        Cause::DiskToSave { disk: disk.clone(), again: false },
        Cause::DiskToSave { disk: disk.clone(), again: true },
        Cause::NoDiskName,
        Cause::NoFileName { disk },
        Cause::FileOfOthers,
        Cause::NoImage { image: named("debian") },
        Cause::SmallerThanImage { disk: named("vdb"), image: named("debian"), least_mib: 2048 },
        Cause::NoImageDatastore,
        Cause::NoNic { mac: named("52:54:00:00:00:01") },
        Cause::NoBridge { host: named("kvm1"), bridge: "br7".to_owned() },
        Cause::NoAddress,
        Cause::NoSize,
        Cause::TooLarge { vcpus: 4, memory_mib: 2048 },
        Cause::LosesMemory { from_mib: 2048, to_mib: 2 },
        Cause::SnapshotThere { label: label.clone() },
        Cause::LabelIsAName { label: "snap-1".to_owned() },
        Cause::BadLabel { most: 128 },
        Cause::SnapshotsFull { most: 64 },
        Cause::NoSnapshot { name: label.clone(), known: vec!["befroe".to_owned()] },
        Cause::SnapshotsCalled {
            name: label.clone(),
            snapshots: vec![named("snap-1"), named("snap-2")],
        },
        Cause::SnapshotOfOtherHardware {
            name: named("snap-3"),
            label,
            changes: hardware_changes(),
        },
        Cause::RulesSayNo { rules: "kvm-rules".to_owned(), reason: "a raw disk".to_owned() },
        Cause::RulesSilent { error: error() },
        Cause::NoRules,
        Cause::NoRulesToAsk { has_host: true },
        Cause::NoRulesToAsk { has_host: false },
        Cause::NotLater { verb: Verb::Forget },
        Cause::StatedAhead,
        Cause::BadSchedule { error: never() },
        Cause::UnreadSchedule { error: never() },
        Cause::SchedulesFull { most: 100 },
        Cause::NoSchedule { id: ScheduleId(2) },
        Cause::TooLate,
    ]);
    causes
}

fn hardware_changes() -> Vec<HardwareChange> {
    let size = |cpu_milli, memory_mib| Size { cpu_milli, vcpus: 2, memory_mib };
    vec![
        HardwareChange::DiskAttached(named("vdb")),
        HardwareChange::DiskDetached(named("vdc")),
        HardwareChange::NicAttached(named("52:54:00:00:00:01")),
        HardwareChange::NicDetached(named("52:54:00:00:00:02")),
        HardwareChange::Resized { from: size(500, 512), to: size(2000, 1024) },
    ]
}

fn refusal_of(cause: Cause) -> Refusal {
    Refusal { kind: RefusalKind::Busy, verb: Verb::Resume, vm: VmId(7), cause, hint: Hint::Wait }
}

/// The variant's name, as `Debug` begins with it.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn every_refusal_has_a_sentence_with_names() {
    let causes: Vec<Cause> = [of_the_vm(), of_places(), of_requests()].concat();
    let lines = causes
        .into_iter()
        .map(|cause| format!("{}: {}\n", variant(&cause), refusal(&Known, &refusal_of(cause))));
    expect_file!["golden/refusals.txt"].assert_eq(&lines.collect::<String>());
}

#[test]
fn every_hint_has_words_without_a_command_line() {
    let hints: Vec<Hint> = Hint::iter()
        .map(|hint| {
            let states = vec![State::Poweroff, State::Suspended];
            if matches!(hint, Hint::WorksFrom { .. }) { Hint::WorksFrom { states } } else { hint }
        })
        .collect();
    let lines: Vec<String> = hints
        .iter()
        .map(|hint| format!("{}: {}", hint.code(), super::hint(hint, Some(Verb::Resume))))
        .collect();
    for line in &lines {
        assert!(!line.contains("ostler ") && !line.contains(" --"), "{line}");
    }
    expect_file!["golden/hints.txt"].assert_eq(&(lines.join("\n") + "\n"));
    let ours: BTreeSet<&str> = hints.iter().map(Hint::code).collect();
    assert_eq!(
        ours,
        ostler_api::ADVICE.iter().copied().collect(),
        "the codes that clients know of"
    );
    let page = include_str!("../../../../docs/api.md");
    for code in ours {
        assert!(page.contains(&format!("`{code}`")), "docs/api.md does not tell {code}");
    }
}

#[test]
fn resources_are_refused_with_names() {
    let in_use = |what: Resource, by| ResourceRefused::InUse { what, by };
    let host = || Resource::Host(HOST);
    let driver = || Resource::Driver(named("sim"));
    let secret = |host| {
        let key = SecretKey { driver: named("xcp"), host, name: named("password") };
        ResourceRefused::NotFound { what: Resource::Secret(key) }
    };
    let refused = [
        ResourceRefused::NameTaken { kind: ResourceKind::Host, name: "kvm1".to_owned() },
        ResourceRefused::SameHypervisor { other: named("kvm1") },
        in_use(host(), UsedBy::Daemon),
        in_use(host(), UsedBy::Placed(VmId(1))),
        in_use(host(), UsedBy::Moving(VmId(1))),
        in_use(host(), UsedBy::LeftBy(VmId(1))),
        in_use(host(), UsedBy::FoundBy(VmId(9))),
        in_use(Resource::Datastore(DatastoreId(1)), UsedBy::FilesOf(VmId(1))),
        in_use(Resource::Datastore(DatastoreId(1)), UsedBy::Image(ImageId(2))),
        in_use(Resource::Image(ImageId(2)), UsedBy::Disks { count: 1 }),
        in_use(Resource::Image(ImageId(2)), UsedBy::Disks { count: 5 }),
        in_use(Resource::Image(ImageId(2)), UsedBy::DiskToSave),
        in_use(Resource::Image(ImageId(2)), UsedBy::Ready),
        in_use(Resource::Vm(VmId(1)), UsedBy::NotDone { state: State::Running }),
        in_use(Resource::Vm(VmId(1)), UsedBy::LeftOn(HOST)),
        in_use(Resource::Vm(VmId(1)), UsedBy::Call),
        in_use(driver(), UsedBy::HypervisorOf(HOST)),
        in_use(driver(), UsedBy::RulesOfHost(HOST)),
        in_use(driver(), UsedBy::FilesIn(DatastoreId(1))),
        in_use(driver(), UsedBy::RulesOf(named("kvm"))),
        ResourceRefused::FileTaken {
            path: named("a.qcow2"),
            image: named("debian"),
            format: DiskFormat::Raw,
        },
        ResourceRefused::NotFound { what: Resource::Token("bob".to_owned()) },
        ResourceRefused::NotFound { what: Resource::Rules(named("kvm")) },
        secret(None),
        secret(Some(HOST)),
        ResourceRefused::NotFound { what: Resource::Host(HostId(9)) },
        ResourceRefused::UuidTaken { vm: VmId(2), other: VmId(1) },
    ];
    let lines: String =
        refused.iter().map(|refused| resource_refused(&Known, refused) + "\n").collect();
    expect_file!["golden/resources.txt"].assert_eq(&lines);
}

#[test]
fn what_cannot_be_used_is_told_with_names() {
    let domain = || "legacy".to_owned();
    let adopted = |why| Unusable::NotAdopted { domain: domain(), why };
    let name =
        || named::<VmName>("a").as_str().repeat(300).parse::<VmName>().expect_err("too long");
    let locked = Lack::Closed { called: "debian".to_owned(), state: "locked".to_owned() };
    let claim = refused_claim(Book::Image, ImageId(2).into(), Some(Amount::ONE), locked);
    let unusable = [
        Unusable::Claim(Box::new(claim)),
        Unusable::NotCreated(NotCreated::NoImage(named("debian"))),
        Unusable::NotCreated(NotCreated::ImageNotReady(named("debian"))),
        Unusable::NotCreated(NotCreated::SmallerThanImage {
            disk: named("vda"),
            image: named("debian"),
            least_mib: 2048,
        }),
        Unusable::NotCreated(NotCreated::FileOfOthers(named("a.qcow2"))),
        Unusable::NotCreated(NotCreated::NoFileName(named("vda"), name())),
        Unusable::NotCreated(NotCreated::NoImageDatastore(named("images"))),
        Unusable::NotCreated(NotCreated::NoHost(named("kvm1"))),
        Unusable::NotCreated(NotCreated::NoBridge {
            bridge: "br7".to_owned(),
            host: named("kvm1"),
        }),
        Unusable::NotCreated(NotCreated::NoBridgeAnywhere { bridge: "br7".to_owned(), hosts: 3 }),
        Unusable::HostAnswers(HOST),
        Unusable::HostNotAsked(HOST),
        Unusable::HostHasVms { host: HOST, vms: vec![VmId(1), VmId(9)], more: 0 },
        Unusable::HostHasVms { host: HOST, vms: vec![VmId(1)], more: 4 },
        Unusable::DomainUnseen { domain: domain(), host: HOST, error: error() },
        Unusable::NoDomain { domain: domain(), host: HOST },
        Unusable::NoHypervisor { domain: domain(), host: HOST },
        adopted(NotAdopted::Ours),
        adopted(NotAdopted::Others),
        adopted(NotAdopted::Power(Power::Paused)),
        adopted(NotAdopted::DisksElsewhere { host: named("kvm1"), roots: vec![] }),
        adopted(NotAdopted::DiskInFolder { disk: named("vda"), file: "/a/b".to_owned() }),
        adopted(NotAdopted::BootElsewhere { what: "kernel", file: "/a/b".to_owned() }),
        adopted(NotAdopted::Name(name())),
        adopted(NotAdopted::Spec(invalid())),
        adopted(NotAdopted::Changes(vec!["another CPU".to_owned()])),
        Unusable::Counters { vm: VmId(7), host: HOST, error: error() },
    ];
    let lines: String = unusable
        .iter()
        .map(|why| {
            format!(
                "{} [{}]\n",
                super::unusable(&Known, why),
                why.hint().map_or("-", |hint| hint.code())
            )
        })
        .collect();
    expect_file!["golden/unusable.txt"].assert_eq(&lines);
}

fn every_wait() -> Vec<WaitsFor> {
    let step = Some(StepKind::Boot);
    let (host, none) = (Some(HOST), None);
    let call =
        |host, driver: Option<&str>| Done { step, item: None, host, driver: driver.map(named) };
    vec![
        WaitsFor::EarlierCalls { calls: 2, step },
        WaitsFor::GuestBooted,
        WaitsFor::Driver { call: call(host, Some("kvm")), attempt: 2 },
        WaitsFor::Driver { call: call(none, None), attempt: 1 },
        WaitsFor::NextAttempt(call(host, Some("kvm"))),
        WaitsFor::Confirmation { host, step },
        WaitsFor::GuestOff,
        WaitsFor::Arrival { host },
        WaitsFor::Started,
        WaitsFor::StateAfterFailure { host },
        WaitsFor::Answer { host },
        WaitsFor::Answer { host: none },
        WaitsFor::Reconciled,
        WaitsFor::PersonAtDomain { domain: "one-7".to_owned(), host: HOST },
        WaitsFor::PersonAtOwnDomain { host: HOST },
        WaitsFor::PersonAtGuest { host: HOST, crashed: false },
        WaitsFor::PersonAtGuest { host: HOST, crashed: true },
        WaitsFor::Scheduler,
        WaitsFor::SchedulerMoves,
        WaitsFor::Recovery { cold: false },
        WaitsFor::Recovery { cold: true },
        WaitsFor::BothHosts { hosts: [HOST, HostId(4)] },
        WaitsFor::Host { host: HOST },
        WaitsFor::Resume,
        WaitsFor::Leftovers { hosts: vec![HOST, HostId(9)] },
    ]
}

#[test]
fn why_is_told_with_names() {
    let (operation, verb, step) = (OperationId(5), Verb::Deploy, Some(StepKind::Boot));
    let at_work = |undoing| Summary::AtWork {
        state: State::Boot,
        operation,
        verb,
        undoing,
        at: 2,
        of: 3,
        step,
    };
    let next = Some((Verb::Stop, Timestamp(1_800_000_000_000)));
    let at_rest = |next| Summary::AtRest { state: State::Running, reason: Reason::Asked, next };
    let mut lines: Vec<String> =
        [at_work(false), at_work(true), at_rest(None), at_rest(next)].iter().map(summary).collect();
    lines.extend(
        every_wait().iter().map(|waits| {
            waits_for(&Known, std::slice::from_ref(waits), None, None).expect("waits")
        }),
    );
    let progress = Progress { done: 1, total: 3, phase: "copying".to_owned() };
    let two = [WaitsFor::Host { host: HOST }, WaitsFor::Leftovers { hosts: vec![HostId(4)] }];
    lines.extend(waits_for(&Known, &two, Some(&progress), None));
    lines.extend(waits_for(&Known, &two[..1], None, Some(Millis::secs(90))));
    assert_eq!(waits_for(&Known, &[], Some(&progress), None), None);
    let failed = |undoing| LastError::Failed { operation, verb, step, undoing, error: error() };
    let earlier = |verb, step| LastError::Earlier { operation, verb, step, error: error() };
    let errors = [
        LastError::Now(error()),
        failed(false),
        failed(true),
        earlier(Some(verb), step),
        earlier(None, None),
    ];
    lines.extend(errors.iter().map(last_error));
    let refused = || Declined::Refused(refusal_of(Cause::SameHost { host: HOST }));
    let at = |why| Waits::Host(named("kvm1"), why);
    let scheduler = [
        Waits::Unreconciled,
        Waits::Unseen,
        Waits::HomeCrowded(8),
        Waits::NoHosts,
        Waits::NoStorage,
        Waits::NotOn(named("kvm1")),
        at(WhyNot::Silent("no route".to_owned())),
        at(WhyNot::Unfit(Unfit::Leftover)),
        at(WhyNot::Refused(refused())),
        at(WhyNot::Crowded(8)),
        at(WhyNot::Here),
        at(WhyNot::OtherDriver { has: named("xen"), needs: named("kvm") }),
        at(WhyNot::TooFull { free: GIB, needed: GIB }),
        Waits::More(7),
        Waits::Refused(refused()),
        Waits::Refused(Declined::Taken(Box::new(taken_address()))),
        Waits::Refused(Declined::Failed("the store is full".to_owned())),
        Waits::WouldGo(HOST),
    ];
    lines.extend(scheduler.iter().map(|line| waits(&Known, line)));
    expect_file!["golden/why.txt"].assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn what_came_of_a_scheduled_action_is_told() {
    let refused = NotDone::Refused(refusal_of(Cause::SameHost { host: HOST }));
    let missed = |planned, grace| NotDone::Missed { planned, grace };
    let told = |why: &NotDone| not_done(&Known, why);
    assert_eq!(told(&refused), "busy: VM 7 (web7) is on host kvm3 already");
    let at = Some(Timestamp(1_800_000_000_000));
    let hour = Some(Millis::secs(3600));
    assert_eq!(
        told(&missed(at, hour)),
        "missed: it was due at 2027-01-15T08:00:00Z, more than 1h before"
    );
    assert_eq!(told(&missed(at, None)), "missed: it was due at 2027-01-15T08:00:00Z");
    assert_eq!(told(&missed(None, None)), "it was too late to begin");
    assert_eq!(told(&NotDone::Failed(error())), "no route to host [no-route]");
    assert_eq!(told(&NotDone::Overtaken(OperationId(4))), "overtaken by operation 4");
    assert_eq!(
        told(&NotDone::Told("as an earlier version said".to_owned())),
        "as an earlier version said"
    );
    let began = |operation| came(&Known, &Came::Began { verb: Verb::Stop, operation });
    assert_eq!(
        (began(Some(OperationId(4))).as_str(), began(None).as_str()),
        ("stop is operation 4", "stop: it was so already")
    );
    assert_eq!(came(&Known, &Came::Done(OperationId(4))), "operation 4 is done");
}
