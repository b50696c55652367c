//! What monitoring does, row by row.

use crate::script::check;
use expect_test::expect;

#[test]
fn off_while_running_guest() {
    check(
        "deploy; drive; guest-off; look; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [guest]
        place          Some(1) host=true home=false placed=1
    "#]],
    );
}

#[test]
fn off_while_running_crashed() {
    check(
        "deploy; drive; crash; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [crashed]
    "#]],
    );
}

#[test]
fn off_while_running_destroyed() {
    check(
        "deploy; drive; destroyed; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [destroyed-outside]
    "#]],
    );
}

#[test]
fn off_while_running_nobody_tells_why() {
    check(
        "deploy; drive; off; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [destroyed-outside]
    "#]],
    );
}

#[test]
fn gone_while_running() {
    check(
        "deploy; drive; undefined; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [destroyed-outside]
    "#]],
    );
}

#[test]
fn off_while_unknown() {
    check(
        "deploy; drive; blind; guest-off; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        blind          unknown [cannot-ask]
        look           poweroff [guest]
    "#]],
    );
}

#[test]
fn gone_while_unknown() {
    check(
        "deploy; drive; blind; undefined; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        blind          unknown [cannot-ask]
        look           poweroff [destroyed-outside]
    "#]],
    );
}

#[test]
fn running_while_unknown() {
    check(
        "deploy; drive; blind; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        blind          unknown [cannot-ask]
        look           running [seen-again]
    "#]],
    );
}

#[test]
fn started_while_off() {
    check(
        "deploy; drive; poweroff-hard; drive; started; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        look           running [started-outside]
    "#]],
    );
}

#[test]
fn started_while_suspended() {
    check(
        "deploy; drive; suspend; drive; started; look; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        look           running [started-outside]
        memory         None
    "#]],
    );
}

#[test]
fn started_and_paused_while_suspended() {
    check(
        "deploy; drive; suspend; drive; started; paused; look; memory; look; destroyed; look; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        look           suspended [external]
        memory         None
        look           suspended [external]
        look           poweroff [destroyed-outside]
        memory         None
    "#]],
    );
}

#[test]
fn started_and_crashed_while_suspended() {
    check(
        "deploy; drive; suspend; drive; started; preserved; look; memory; off; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            look           unknown [guest-crashed]
            memory         None
            look           poweroff [seen-again]
        "#]],
    );
}

#[test]
fn started_by_a_stranger_while_suspended() {
    check(
        "deploy; drive; suspend; drive; started; foreign; look; memory; undefined; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            look           unknown [foreign]
            memory         None
            look           poweroff [seen-again]
        "#]],
    );
}

#[test]
fn paused_while_running() {
    check(
        "deploy; drive; paused; look; memory; look; resume; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        memory         None
        look           suspended [external]
        resume         boot (unpause: calling) > unpause
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn paused_and_resumed_by_a_person() {
    check(
        "deploy; drive; paused; look; started; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        look           running [started-outside]
    "#]],
    );
}

#[test]
fn paused_and_gone() {
    check(
        "deploy; drive; paused; look; undefined; resume; gone; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        resume         boot (unpause: calling) > unpause
        gone           boot (unpause: settling) > observe
        ok             poweroff [step-failed] | operation 3 failed: gone
    "#]],
    );
}

#[test]
fn paused_and_gone_and_seen() {
    check(
        "deploy; drive; paused; look; undefined; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        look           poweroff [destroyed-outside]
    "#]],
    );
}

#[test]
fn stop_of_one_paused_by_a_person_saves_first() {
    check(
        "deploy; drive; paused; look; stop; run; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        stop           save (save: calling) > save
          save         epilog (remove: calling) > remove
          remove       epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (copy-out: calling) > copy-out recovery
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    stopped [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn suspend_of_one_paused_by_a_person_is_so_already() {
    check(
        "deploy; drive; paused; look; suspend",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        suspend        suspended [external] | already so
    "#]],
    );
}

#[test]
fn io_error() {
    check(
        "deploy; drive; io-error; look; look; resume; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           unknown [io-error]
        look           unknown [io-error]
        resume         boot (unpause: calling) > unpause
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn watchdog() {
    check(
        "deploy; drive; watchdog; look; boot; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           unknown [watchdog]
        boot           boot (unpause: calling) > unpause
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn preserved() {
    check(
        "deploy; drive; preserved; look; resume; poweroff-hard; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            look           unknown [guest-crashed]
            resume         refused not-absent: NotOff { seen: Crashed }
            poweroff-hard  shutdown (power-off: calling) > destroy
              destroy      poweroff [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn could_not_ask_concludes_nothing_at_first() {
    check(
        "deploy; drive; host-gone; look; poweroff-hard; host-back; run; blind",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           running [asked]
        poweroff-hard  shutdown (power-off: calling) > destroy
          destroy      poweroff [asked] | operation 3 succeeded
        blind          poweroff [asked]
    "#]],
    );
}

#[test]
fn could_not_ask_for_long() {
    check(
        "deploy; drive; blind; blind; why",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            blind          unknown [cannot-ask]
            why            [Host { host: HostId(1) }]
        "#]],
    );
}

#[test]
fn being_started_is_not_judged() {
    check(
        "deploy; drive; starting; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           running [asked]
    "#]],
    );
}

#[test]
fn foreign_while_running() {
    check(
        "deploy; drive; foreign; look; poweroff-hard; run; why",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            look           unknown [foreign]
            poweroff-hard  shutdown (power-off: calling) > destroy
              destroy      shutdown (power-off: settling) > observe
              observe      unknown [foreign] | operation 3 failed: foreign
            why            [PersonAtOwnDomain { host: HostId(1) }]
        "#]],
    );
}

#[test]
fn not_stamped_at_all() {
    check(
        "deploy; drive; unstamped; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           unknown [foreign]
    "#]],
    );
}

#[test]
fn above_issued() {
    check(
        "deploy; drive; above; look; poweroff-hard; ok; resume",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            look           unknown [store-is-stale]
            poweroff-hard  shutdown (power-off: calling) > destroy
            ok             unknown [store-is-stale] | operation 3 failed: stale
            resume         refused not-absent: NotOff { seen: AboveIssued }
        "#]],
    );
}

#[test]
fn older_alive_while_off() {
    check(
        "deploy; drive; poweroff-hard; drive; started; older; look; poweroff-hard; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        look           unknown [store-is-stale]
        poweroff-hard  shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn older_and_off_is_off() {
    check(
        "deploy; drive; older; guest-off; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [destroyed-outside]
    "#]],
    );
}

#[test]
fn failed_waits_for_a_person() {
    check(
        "deploy; ok; refused; started; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
        look           failed [step-failed]
    "#]],
    );
}

#[test]
fn a_look_never_ends_a_step_whose_call_is_open() {
    check(
        "deploy; drive; wait:9; poweroff; do; obey; look; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        look           shutdown (press-power: calling)
        ok             shutdown (press-power: waiting)
    "#]],
    );
}

#[test]
fn a_look_ends_the_wait_for_the_guest() {
    check(
        "deploy; drive; wait:9; undeploy; ok; look; obey; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        undeploy       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           shutdown (press-power: waiting)
        look           epilog (remove: calling) > remove
    "#]],
    );
}

#[test]
fn a_guest_that_is_off_before_the_press() {
    check(
        "deploy; drive; shutdown; guest-off; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        shutdown       shutdown (press-power: delaying)
        look           epilog (remove: calling) > remove
    "#]],
    );
}

#[test]
fn resume_from_unknown_needs_a_look() {
    check(
        "deploy; drive; blind; resume; host-gone; resume; boot; host-back; guest-off; boot; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            resume         refused not-absent: NotOff { seen: Running }
            resume         refused cannot-ask: OffUnseen { error: Some(DriverError { kind: Unknown, code: "unreachable", detail: "no answer" }) }
            boot           refused cannot-ask: OffUnseen { error: Some(DriverError { kind: Unknown, code: "unreachable", detail: "no answer" }) }
            boot           boot (boot: calling) > deploy
            ok             running [asked] | operation 6 succeeded
        "#]],
    );
}
