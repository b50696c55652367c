//! Verbs with bodies of their own: those that need no host are done, all others are refused before
//! anything changes.

use crate::daemon::Daemon;
use ostler_api::{ActionReply, RescheduleBody, ScheduleBody, Sent, Vm};
use reqwest::Method;
use serde_json::{Value, json};

impl Daemon {
    /// Asks, and expects it to be accepted.
    async fn asked(&self, vm: &str, verb: &str, body: Value) -> ActionReply {
        let sent = Sent::default();
        self.local
            .act(vm, verb, &body, &sent)
            .await
            .unwrap_or_else(|err| panic!("{verb} {body}: {err}"))
    }

    async fn shown(&self, vm: &str) -> Vm {
        self.local.vm(vm).await.expect("a VM")
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_verbs_is_refused() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await;
    let needs = [
        ("migrate", "host"),
        ("migrate-live", "host"),
        ("migrate-poweroff", "host"),
        ("migrate-poweroff-hard", "host"),
        ("disk-detach", "name"),
        ("nic-attach", "bridge"),
        ("nic-detach", "mac"),
        ("snapshot-revert", "name"),
        ("snapshot-delete", "name"),
        ("disk-snapshot", "disk"),
        ("disk-snapshot-live", "disk"),
        ("disk-snapshot-cancel", "disk"),
        ("update", "user_data"),
        ("rename", "name"),
        ("schedule", "verb"),
        ("unschedule", "id"),
        ("reschedule", "id"),
    ];
    for (verb, field) in needs {
        let problem = daemon.refused(Method::POST, &path(id, verb), "", 400, "invalid").await;
        assert!(
            problem.detail.contains(&format!("missing field `{field}`")),
            "{verb}: {problem:?}"
        );
    }
    let verbs = needs.map(|(verb, _)| verb).into_iter().chain([
        "disk-attach",
        "snapshot-create",
        "resize",
        "resched",
        "forget",
        "hold",
    ]);
    for verb in verbs {
        for body in ["[]", "7", "null", "\"x\"", r#"{"no-such-field":1}"#] {
            daemon.refused(Method::POST, &path(id, verb), body, 400, "invalid").await;
        }
        daemon.refused(Method::POST, &path(id, verb), "{", 400, "malformed").await;
    }
    // A field of another verb is refused.
    let problem = daemon
        .refused(Method::POST, &path(id, "nic-attach"), r#"{"brigde":"br0"}"#, 400, "invalid")
        .await;
    assert_eq!(problem.hint.as_deref(), Some("did you mean bridge?"));
    daemon.refused(Method::POST, &path(id, "forget"), r#"{"host":"h"}"#, 400, "invalid").await;
}

#[tokio::test]
async fn values_that_make_no_sense_name_their_field() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await;
    let planned = |more: &str| format!(r#"{{"verb":"hold","when":"daily 02:00",{more}}}"#);
    let cases = [
        ("disk-attach", "{}".to_owned(), "image"),
        ("disk-attach", r#"{"image":"a","swap":"1GiB"}"#.to_owned(), "swap"),
        ("disk-attach", r#"{"size":1,"swap":1}"#.to_owned(), "swap"),
        ("disk-attach", r#"{"size":1,"format":"vmdk"}"#.to_owned(), "format"),
        ("disk-attach", r#"{"size":1,"name":"a b"}"#.to_owned(), "name"),
        ("disk-attach", r#"{"image":"a b"}"#.to_owned(), "image"),
        ("disk-detach", r#"{"name":"/"}"#.to_owned(), "name"),
        ("nic-attach", r#"{"bridge":"br0","mac":"x"}"#.to_owned(), "mac"),
        ("nic-detach", r#"{"mac":"01:00:00:00:00:00"}"#.to_owned(), "mac"),
        ("disk-snapshot", r#"{"disk":"vda","image":"a b"}"#.to_owned(), "image"),
        ("resize", "{}".to_owned(), "cpu"),
        ("resize", r#"{"cpu":0}"#.to_owned(), "cpu"),
        ("resize", r#"{"cpu":5000}"#.to_owned(), "cpu"),
        ("rename", r#"{"name":"12"}"#.to_owned(), "name"),
        ("rename", r#"{"name":"a b"}"#.to_owned(), "name"),
        ("schedule", r#"{"verb":"dance","when":"daily 02:00"}"#.to_owned(), "verb"),
        ("schedule", r#"{"verb":"hold","when":"tomorrow"}"#.to_owned(), "when"),
        ("schedule", planned(r#""zone":"Mars/Base""#), "zone"),
        ("schedule", planned(r#""misfire":"maybe""#), "misfire"),
        ("schedule", planned(r#""from":"soon""#), "from"),
        ("schedule", planned(r#""until":"later""#), "until"),
        (
            "schedule",
            r#"{"verb":"nic-detach","when":"daily 02:00","args":{"mac":"x"}}"#.to_owned(),
            "args.mac",
        ),
        (
            "schedule",
            r#"{"verb":"forget","when":"daily 02:00","args":{"force":true}}"#.to_owned(),
            "args.force",
        ),
        (
            "schedule",
            r#"{"verb":"resize","when":"daily 02:00","args":{"vcpus":2,"enforce":true}}"#
                .to_owned(),
            "args.enforce",
        ),
    ];
    for (verb, body, field) in &cases {
        let problem = daemon.refused(Method::POST, &path(id, verb), body, 422, "invalid").await;
        assert_eq!(problem.field.as_deref(), Some(*field), "{verb} {body}: {problem:?}");
    }
    let nested = r#"{"verb":"migrate","when":"daily 02:00","args":{"hots":"h"}}"#;
    let problem = daemon.refused(Method::POST, &path(id, "schedule"), nested, 400, "invalid").await;
    assert_eq!(
        (problem.field.as_deref(), problem.hint.as_deref()),
        (Some("args.hots"), Some("did you mean host?"))
    );
    for (verb, body) in [
        ("migrate", r#"{"host":"nowhere"}"#),
        ("disk-attach", r#"{"image":"77"}"#),
        ("disk-snapshot", r#"{"disk":"vda","image":"a","datastore":"nowhere"}"#),
        ("schedule", r#"{"verb":"deploy","when":"daily 02:00","args":{"host":"nowhere"}}"#),
    ] {
        daemon.refused(Method::POST, &path(id, verb), body, 404, "not-found").await;
    }
}

#[tokio::test]
async fn a_field_that_would_have_no_effect_is_refused() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await;
    let cases = [
        ("hold", r#"{"host":"h"}"#, "host"),
        ("suspend", r#"{"enforce":true}"#, "enforce"),
        ("poweroff", r#"{"force":true}"#, "force"),
        ("delete", r#"{"force":true}"#, "force"),
        ("deploy", r#"{"force":true}"#, "force"),
        ("recover-retry", r#"{"host":"h"}"#, "host"),
        ("recover-success", r#"{"enforce":true,"force":true}"#, "enforce"),
        ("schedule", r#"{"verb":"resume","when":"daily 02:00","args":{"host":"h"}}"#, "args.host"),
    ];
    for (verb, body, field) in cases {
        let problem = daemon.refused(Method::POST, &path(id, verb), body, 422, "invalid").await;
        assert_eq!(problem.field.as_deref(), Some(field), "{verb} {body}: {problem:?}");
    }
    // `false` asks for nothing, and clients send it with every verb.
    daemon.asked(&id.to_string(), "release", json!({"enforce": false, "force": false})).await;
}

#[tokio::test]
async fn what_the_state_or_the_record_forbids_is_refused() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await;
    let on_hold = [
        ("disk-attach", r#"{"size":"1GiB"}"#),
        ("disk-detach", r#"{"name":"vda"}"#),
        ("nic-attach", r#"{"bridge":"br0"}"#),
        ("nic-detach", r#"{"mac":"52:54:00:00:00:01"}"#),
        ("snapshot-create", "{}"),
        ("snapshot-revert", r#"{"name":"s"}"#),
        ("disk-snapshot", r#"{"disk":"vda","image":"i"}"#),
        ("resched", "{}"),
    ];
    for (verb, body) in on_hold {
        daemon.refused(Method::POST, &path(id, verb), body, 409, "wrong-state").await;
    }
    let senseless = [
        ("unschedule", r#"{"id":7}"#, "bad-request"),
        ("reschedule", r#"{"id":7,"when":"daily 02:00"}"#, "unusable"),
        (
            "schedule",
            r#"{"verb":"rename","when":"daily 02:00","args":{"name":"b"}}"#,
            "bad-request",
        ),
        ("schedule", r#"{"verb":"schedule","when":"daily 02:00"}"#, "bad-request"),
        ("schedule", r#"{"verb":"hold","when":"2020-01-01T00:00"}"#, "bad-request"),
        (
            "schedule",
            r#"{"verb":"hold","when":"daily 02:00","until":"2020-01-01T00:00"}"#,
            "bad-request",
        ),
        ("resize", r#"{"memory":0}"#, "bad-request"),
    ];
    for (verb, body, code) in senseless {
        let problem = daemon.refused(Method::POST, &path(id, verb), body, 422, code).await;
        assert!(problem.hint.is_some(), "{verb} {body}: {problem:?}");
    }
    let problem = daemon.refused(Method::POST, &path(id, "adopt"), "{}", 404, "not-found").await;
    assert!(problem.hint.expect("a hint").contains("/v1/hosts/{host}/adopt"));
    daemon
        .refused_with(
            Method::POST,
            &path(id, "rename"),
            r#"{"name":"b"}"#,
            &[("if-match", "\"99\"")],
            412,
            "version-mismatch",
        )
        .await;
}

#[tokio::test]
async fn name_data_and_size_of_a_vm_without_a_host_change() {
    let daemon = Daemon::start();
    daemon.vm("a").await;
    let before = daemon.seq().await;
    let plan =
        daemon.local.preview("a", "resize", &json!({"memory": "1GiB"})).await.expect("a preview");
    assert!(plan.allowed && plan.loses.is_empty(), "{plan:?}");
    assert_eq!(daemon.seq().await, before);
    let resized =
        daemon.asked("a", "resize", json!({"memory": "1GiB", "vcpus": 2, "cpu": 0.5})).await;
    assert_eq!(
        resized.operation.and_then(|operation| operation.outcome).as_deref(),
        Some("succeeded")
    );
    daemon.asked("a", "update", json!({"user_data": "x"})).await;
    assert!(daemon.asked("a", "update", json!({"user_data": "x"})).await.already);
    daemon.asked("a", "rename", json!({"name": "b"})).await;
    let vm = daemon.shown("b").await;
    assert_eq!(
        (vm.spec.memory.0, vm.spec.vcpus, vm.spec.cpu.map(|cpu| cpu.0)),
        (1024, Some(2), Some(500))
    );
    assert_eq!(vm.spec.user_data, "x");
    let began = daemon.local.operations_of("b").await.expect("operations").operations;
    let verbs: Vec<&str> = began.iter().rev().map(|operation| operation.verb.as_str()).collect();
    assert_eq!(verbs[verbs.len() - 3..], ["resize", "update", "rename"]);
}

#[tokio::test]
async fn headroom_is_part_of_what_is_asked_for() {
    let daemon = Daemon::start();
    let body = r#"{"hold":true,"spec":{"name":"a","memory":"96MiB","headroom":{"vcpus":4,"memory":"1GiB"}}}"#;
    assert_eq!(daemon.post("/v1/vms", body).await.status, 201);
    let headroom = daemon.shown("a").await.spec.headroom;
    assert_eq!((headroom.vcpus, headroom.memory.map(|size| size.0)), (Some(4), Some(1024)));
    let large = body.replace("1GiB", "100TiB").replace("\"a\"", "\"b\"");
    let problem = daemon.refused(Method::POST, "/v1/vms", &large, 422, "invalid").await;
    assert_eq!(problem.field.as_deref(), Some("spec.headroom.memory"));
    let adopted = r#"{"hold":true,"spec":{"name":"b","memory":"96MiB","disks":[{"name":"vda","file":"x.qcow2"}]}}"#;
    daemon.refused(Method::POST, "/v1/vms", adopted, 422, "unusable").await;
}

#[tokio::test]
async fn a_schedule_is_kept_changed_and_taken_back() {
    let daemon = Daemon::start();
    daemon.vm("a").await;
    let host = r#"{"name":"h1","driver":"kvm","config":{"uri":"test-nowhere:///x"},"cpu":4,"memory":"8GiB","state":"off"}"#;
    assert_eq!(daemon.post("/v1/hosts", host).await.status, 201);
    let body = ScheduleBody {
        verb: "migrate-live".to_owned(),
        args: Some(json!({"host": "h1"})),
        when: "weekly mon,thu 02:00".to_owned(),
        zone: Some("europe/berlin".to_owned()),
        misfire: Some("run-once".to_owned()),
        from: Some("2030-01-01T00:00".to_owned()),
        times: Some(3),
        ..ScheduleBody::default()
    };
    let sent = Sent { idempotency_key: Some("k".to_owned()), ..Sent::default() };
    daemon.local.act("a", "schedule", &body, &sent).await.expect("accepted");
    assert!(daemon.local.act("a", "schedule", &body, &sent).await.expect("the same").replayed);
    let vm = daemon.shown("a").await;
    let [entry] = vm.schedules.as_slice() else { panic!("{:?}", vm.schedules) };
    assert_eq!(
        (entry.id, entry.verb.as_ref(), &entry.args),
        (0, "migrate-live", &json!({"host": "h1"}))
    );
    assert_eq!(
        (entry.zone.as_str(), entry.misfire.as_str(), entry.times),
        ("Europe/Berlin", "run-once", Some(3))
    );
    assert_eq!(
        entry.from.map(|from| from.to_string()).as_deref(),
        Some("2029-12-31T23:00:00.000Z")
    );
    assert_eq!(entry.next_local.as_deref(), Some("2030-01-03T02:00:00+01:00"));
    assert_eq!((entry.last.as_str(), entry.fired, entry.by.as_str()), ("waiting", 0, "local"));

    let change = RescheduleBody {
        id: 0,
        zone: Some("UTC".to_owned()),
        times: Some(None),
        ..RescheduleBody::default()
    };
    daemon.local.act("a", "reschedule", &change, &Sent::default()).await.expect("accepted");
    let entry = daemon.shown("a").await.schedules.remove(0);
    assert_eq!(
        (entry.when.as_str(), entry.times, &entry.args),
        ("weekly mon,thu 02:00", None, &json!({"host": "h1"}))
    );
    assert_eq!(
        entry.next.map(|next| next.to_string()).as_deref(),
        Some("2030-01-03T02:00:00.000Z")
    );
    daemon.asked("a", "unschedule", json!({"id": 0})).await;
    assert!(daemon.shown("a").await.schedules.is_empty());
}

#[tokio::test]
async fn a_vm_without_a_host_is_forgotten() {
    let daemon = Daemon::start();
    daemon.vm("a").await;
    let wait = Some(std::time::Duration::from_secs(30));
    let reply = daemon
        .local
        .act("a", "forget", &json!({}), &Sent { wait, ..Sent::default() })
        .await
        .expect("accepted");
    assert_eq!((reply.state.as_str(), reply.timed_out), ("done", false), "{reply:?}");
}

#[tokio::test]
async fn adoption_and_rules_refuse_what_makes_no_sense() {
    let daemon = Daemon::start();
    let host = r#"{"name":"h1","driver":"kvm","config":{"uri":"test-nowhere:///x"},"cpu":4,"memory":"8GiB","state":"off"}"#;
    assert_eq!(daemon.post("/v1/hosts", host).await.status, 201);
    daemon.refused(Method::POST, "/v1/hosts/h1/adopt", "{}", 400, "invalid").await;
    daemon.refused(Method::POST, "/v1/hosts/h1/adopt", r#"{"domian":"x"}"#, 400, "invalid").await;
    daemon
        .refused(
            Method::POST,
            "/v1/hosts/h1/adopt",
            r#"{"domain":"x","name":"a b"}"#,
            422,
            "invalid",
        )
        .await;
    daemon
        .refused(Method::POST, "/v1/hosts/h1/adopt?wait=1h", r#"{"domain":"x"}"#, 400, "invalid")
        .await;
    daemon
        .refused(Method::POST, "/v1/hosts/nowhere/adopt", r#"{"domain":"x"}"#, 404, "not-found")
        .await;
    daemon.refused(Method::POST, "/v1/hosts/h1/adopt", r#"{"domain":"x"}"#, 422, "unusable").await;
    daemon.refused(Method::PUT, "/v1/drivers/kvm/rules", "{}", 400, "invalid").await;
    daemon
        .refused(Method::PUT, "/v1/drivers/kvm/rules", r#"{"rules":"nothing"}"#, 422, "unusable")
        .await;
    daemon
        .refused(Method::PUT, "/v1/drivers/kvm/rules", r#"{"rules":"kvm"}"#, 422, "unusable")
        .await;
    daemon
        .refused(Method::PUT, "/v1/drivers/nothing/rules", r#"{"rules":"kvm"}"#, 404, "not-found")
        .await;
    daemon.refused(Method::DELETE, "/v1/drivers/kvm/rules", "", 404, "not-found").await;
    daemon.refused(Method::PUT, "/v1/hosts/h1/rules", "{}", 400, "invalid").await;
    daemon.refused(Method::PUT, "/v1/hosts/h1/rules", r#"{"rules":"kvm"}"#, 422, "unusable").await;
    daemon
        .refused(Method::PUT, "/v1/hosts/nowhere/rules", r#"{"rules":"kvm"}"#, 404, "not-found")
        .await;
    daemon.refused(Method::DELETE, "/v1/hosts/h1/rules", "", 404, "not-found").await;
}

fn path(vm: u64, verb: &str) -> String {
    format!("/v1/vms/{vm}/actions/{verb}")
}
