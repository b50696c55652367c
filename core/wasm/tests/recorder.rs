//! The flight recorder, with a real component and real commands.

mod support;

use ostler_model::OperationId;
use ostler_wasm::Record;
use support::{all, call, host, hypervisor, load, options, site, told};

#[tokio::test]
async fn an_operation_keeps_the_calls_of_its_drivers() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::write(dir.path().join("fails"), "echo broken pipe of water >&2; exit 3")
        .expect("written");
    let host = host(options());
    let driver = hypervisor(&load(&host, all()).await);
    // The operation of `support::call`, which `told` makes.
    let operation = call(1, std::time::Duration::from_secs(60)).context.key.operation;
    assert_eq!(host.calls_of(operation).records, [], "nothing was called yet");
    for deed in ["exec do script=ds:fails", "exec do script=ds:../etc/passwd", "read ds none"] {
        let _ = told(&driver, &site(dir.path(), deed)).await;
    }
    let kept = host.calls_of(operation);
    // The guest reads its deed from a setting, twice.
    let settings = kept.records.iter().filter(|record| record.function == Some("config.get"));
    assert_eq!(settings.count(), 6);
    let others = || kept.records.iter().filter(|record| record.function != Some("config.get"));
    let short = |record: &Record| {
        let function = record.function.unwrap_or("-");
        format!("{} {function} {} {}", record.call, record.answered.code, record.answered.failed)
    };
    let lines: Vec<String> = others().map(short).collect();
    assert_eq!(
        lines,
        [
            "remove exec.run exit-3 true",
            "remove - told true",
            "remove exec.run bad-argument true",
            "remove - bad-argument true",
            "remove files.read ok false",
            "remove - told true",
        ]
    );
    let command = others().next().expect("the command");
    assert_eq!(command.what, "/bin/sh ds:fails");
    assert_eq!(command.answered.detail.as_deref(), Some("broken pipe of water"));
    assert_eq!(command.driver.as_str(), "test-guest");
    assert_eq!(command.host.as_ref().map(|host| host.as_str()), Some("here"));
    let whole = others().nth(1).expect("the call itself");
    assert_eq!((whole.what.as_str(), kept.left_out), ("domain", 0));
    assert_eq!(host.calls_of(OperationId(999)).records, [], "another operation has none");
    // The call's time is over while the command runs.
    let control = call(2, std::time::Duration::from_secs(5));
    let error = driver.remove(&site(dir.path(), "exec sleep seconds=600"), &control).await;
    assert_eq!(error.expect_err("late").code, "driver-deadline");
    let records = host.calls_of(operation).records;
    let [.., command, whole] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (command.what.as_str(), command.answered.code.as_str()),
        ("/bin/sleep 600", "unanswered")
    );
    assert_eq!(whole.answered.code, "driver-deadline");
}
