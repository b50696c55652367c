//! What is not a driver for this host is told apart, and the compile cache is only a cache.

mod support;

use ostler_driver::DriverOrigin;
use ostler_model::{Ability, Observation};
use ostler_wasm::{Grants, Host, HostOptions, LoadError};
use support::{
    all, granting, guest, host, hypervisor, load, nowhere, options, other_guest, patched, vm,
};

async fn refused(bytes: Vec<u8>) -> LoadError {
    match host(options()).load_bytes("file.wasm", bytes, Grants::none()).await {
        Ok(_) => panic!("loaded"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_is_no_component_is_told_apart() {
    for garbage in [&b""[..], b"hello", b"\0asm", b"\x7fELF\x02\x01\x01\0\0\0\0\0"] {
        assert!(
            matches!(refused(garbage.to_vec()).await, LoadError::NotWasm { .. }),
            "{garbage:?}"
        );
    }
    assert!(matches!(
        refused(wat::parse_str("(module)").expect("text")).await,
        LoadError::CoreModule { .. }
    ));
    let whole = guest();
    for part in [whole.len() / 3, whole.len() - 1] {
        let error = refused(whole[..part].to_vec()).await;
        assert!(matches!(error, LoadError::NotWasm { .. }), "{error}");
    }
    let too_large = refused(vec![0; (64 << 20) + 1]).await;
    assert!(matches!(too_large, LoadError::TooLarge { .. }), "{too_large}");
    assert!(matches!(
        refused(wat::parse_str("(component)").expect("text")).await,
        LoadError::NoManifest { .. }
    ));
    let missing = host(options()).load("/no/such/file.wasm".as_ref(), Grants::none()).await;
    assert!(matches!(missing, Err(LoadError::Unreadable { .. })));
}

#[tokio::test]
async fn compiled_code_from_outside_is_never_loaded() {
    let dir = tempfile::tempdir().expect("dir");
    let cache = dir.path().join("cache");
    let host = host(HostOptions { cache_dir: Some(cache.clone()), ..options() });
    load(&host, all()).await;
    let entry = std::fs::read_dir(&cache)
        .expect("cache")
        .next()
        .expect("an entry")
        .expect("an entry")
        .path();
    let code = std::fs::read(entry).expect("read");
    assert!(matches!(refused(code[32..].to_vec()).await, LoadError::NotWasm { .. }));
}

#[tokio::test]
async fn another_contract_is_named() {
    for (version, hint) in
        [("9.0.0", "upgrade this host"), ("0.2.0", "upgrade this host"), ("0.0.9", "current SDK")]
    {
        let error = refused(patched("@0.1.0", &format!("@{version}"))).await;
        assert!(matches!(error, LoadError::ForeignContract { .. }), "{error}");
        let text = error.to_string();
        for part in
            ["test-guest", &format!("ostler:driver@{version}"), "serves ostler:driver@0.1.0", hint]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn unknown_imports_are_named() {
    let error = refused(patched("ostler:driver/files@0.1.0", "ostler:driver/filez@0.1.0")).await;
    assert!(matches!(error, LoadError::UnknownImports { .. }), "{error}");
    assert!(error.to_string().contains("ostler:driver/filez@0.1.0"), "{error}");
    let error = refused(patched("ostler:driver/exec@0.1.0", "somebody:else/what@7.0.0")).await;
    assert!(error.to_string().contains("somebody:else/what@7.0.0"), "{error}");
}

#[tokio::test]
async fn functions_with_other_types_than_the_contracts_are_refused() {
    // A field of the question to snapshot rules.
    let error = refused(patched("now-ms", "now-mz")).await;
    assert!(matches!(error, LoadError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("now-mz"), "{error}");
}

#[tokio::test]
async fn a_driver_that_does_not_start_is_refused() {
    let parsed = wasmparser::Parser::new(0).parse_all(guest()).map(|part| part.expect("sound"));
    let modules = parsed.filter(|part| matches!(part, wasmparser::Payload::ModuleSection { .. }));
    let stops = wat::parse_str("(module (func $stop unreachable) (start $stop))").expect("text");
    let section = |id: u8, content: &[u8]| {
        let len = u8::try_from(content.len()).expect("short");
        [&[id, len][..], content].concat()
    };
    // One core module more, and an instance of it, which takes nothing.
    let instance = [1, 0, u8::try_from(modules.count()).expect("few"), 0];
    let file = [guest(), &section(1, &stops), &section(2, &instance)].concat();
    let error = refused(file).await;
    let LoadError::NoStart { driver, source } = &error else { panic!("{error}") };
    assert_eq!((driver.as_str(), source.code.as_str()), ("test-guest", "driver-trap"), "{error}");
    let text = error.to_string();
    assert!(text.contains("test-guest") && text.contains("unreachable"), "{text}");
}

#[tokio::test]
async fn a_component_that_is_no_driver_is_told() {
    let manifest = r#"name = \"x\"\nversion = \"1\"\nsummary = \"s\""#;
    let component = |body: &str, manifest: &str| {
        let mut bytes = wat::parse_str(format!("(component {body})")).expect("text");
        let content = [&[15][..], b"ostler:manifest", manifest.as_bytes()].concat();
        bytes.extend([0, u8::try_from(content.len()).expect("short")]);
        bytes.extend(content);
        bytes
    };
    let manifest = &manifest.replace("\\\"", "\"").replace("\\n", "\n");
    let error = refused(component("", manifest)).await;
    assert!(matches!(error, LoadError::NoKind { .. }), "{error}");
    // The right name with the wrong content.
    let error = refused(component(
        r#"(instance $i) (export "ostler:driver/snapshot-rules@0.1.0" (instance $i))"#,
        manifest,
    ))
    .await;
    assert!(matches!(error, LoadError::Mismatch { .. }), "{error}");
    let error = refused(component(
        r#"(import "ostler:driver/clock@0.1.0" (func)) (instance $i) (export "ostler:driver/transfer@0.1.0" (instance $i))"#,
        manifest,
    ))
    .await;
    assert!(matches!(error, LoadError::Mismatch { .. }), "{error}");
    let error = refused(component("", "name = 1")).await;
    assert!(matches!(error, LoadError::Manifest { .. }), "{error}");
}

#[tokio::test]
async fn what_it_is_is_read_from_it() {
    let driver = load(&host(options()), granting(&[("exec", &["cat"])])).await;
    let info = driver.info();
    assert_eq!(
        (info.name.as_str(), info.version.as_str(), info.abilities.as_slice()),
        (
            "test-guest",
            "1.2.3",
            &[
                Ability::Migrate,
                Ability::Snapshots,
                Ability::Console,
                Ability::Changes,
                Ability::Fence,
                Ability::Adopt
            ][..]
        )
    );
    let DriverOrigin::Component { digest, contract, granted, missing, .. } = info.origin else {
        panic!("a component")
    };
    assert_eq!((digest.len(), contract.as_str()), (64, "0.1.0"));
    assert_eq!(granted, ["exec", "exec:cat"]);
    let all = "config files socket http secrets exec:show exec:sleep exec:short exec:groups \
               exec:missing exec:login exec:echo exec:do exec:limited \
               exec:everywhere exec:not-reached exec:reached \
               socket:peer socket:fixed http:api http:other http:open";
    assert_eq!(missing.join(" "), all);
    assert_eq!(
        driver.kinds().iter().map(ostler_driver::DriverKind::word).collect::<Vec<_>>(),
        ["hypervisor", "snapshot-rules"]
    );
    assert!(
        ostler_driver::DriverEntry::new(driver.info(), driver.kinds()).is_ok(),
        "it has a part for each ability that it states"
    );
    let printed = driver.inspection().to_string();
    for line in [
        "test-guest 1.2.3: Does what a test tells it",
        "asks for    files: touches files of the test",
        "command     show: /usr/bin/printf %s| {word:word} n={n:int(1..64)} {file:path}",
        "endpoint    other: the server at the URL in setting other-url, with secret token",
        "setting     answer: a setting with a default (default 42)",
        "            is given the secrets password, token",
        "secret      password: to log in",
        "kinds       hypervisor, snapshot-rules",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} is not in\n{printed}");
    }
    let facts = hypervisor(&driver).probe(&nowhere("")).await.expect("probed");
    assert_eq!(
        (facts.total.cpu_milli, facts.abilities.as_slice()),
        (
            1000,
            &[
                Ability::Migrate,
                Ability::Snapshots,
                Ability::Console,
                Ability::Fence,
                Ability::Adopt
            ][..]
        )
    );
}

#[tokio::test]
async fn a_damaged_cache_entry_is_compiled_again() {
    let dir = tempfile::tempdir().expect("dir");
    let cache = dir.path().join("cache");
    let fresh = || host(HostOptions { cache_dir: Some(cache.clone()), ..options() });
    let works = async |host: Host| {
        assert_eq!(
            hypervisor(&load(&host, all()).await).observe(&nowhere(""), vm(1)).await,
            Ok(Observation::Absent)
        )
    };
    works(fresh()).await;
    let entries = || {
        std::fs::read_dir(&cache)
            .expect("cache")
            .map(|entry| entry.expect("entry").path())
            .collect::<Vec<_>>()
    };
    let [entry] = &entries()[..] else { panic!("one entry") };
    let good = std::fs::read(entry).expect("read");
    for bad in [Vec::new(), good[..40].to_vec(), vec![7; good.len()], {
        let mut bent = good.clone();
        bent[5000] ^= 1;
        bent
    }] {
        std::fs::write(entry, &bad).expect("written");
        works(fresh()).await;
        assert_eq!(std::fs::read(entry).expect("read").len(), good.len());
    }
    let begun = std::time::Instant::now();
    works(fresh()).await;
    println!("host, load from cache and one call: {:?}", begun.elapsed());
}

#[tokio::test]
async fn compiled_code_that_this_daemon_did_not_write_is_not_run() {
    use sha2::{Digest, Sha256};
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("dir");
    let cache = dir.path().join("cache");
    let fresh = || host(HostOptions { cache_dir: Some(cache.clone()), ..options() });
    let load = async |bytes: Vec<u8>| {
        let driver = fresh().load_bytes("file.wasm", bytes, all()).await.expect("loaded");
        driver.inspection().digest.clone()
    };
    let entry = |digest: &str| {
        let all = std::fs::read_dir(&cache).expect("cache").map(|entry| entry.expect("one").path());
        let named = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(digest))
        };
        all.into_iter().find(named).expect("an entry")
    };
    let (one, other) = (load(guest().to_vec()).await, load(other_guest()).await);
    assert_ne!(one, other);
    let (ours, theirs) = (entry(&one), entry(&other));
    let good = std::fs::read(&ours).expect("read");

    // The sound code of another component, under the name of this one.
    std::fs::copy(&theirs, &ours).expect("copied");
    load(guest().to_vec()).await;
    assert_ne!(std::fs::read(&ours).expect("read"), std::fs::read(&theirs).expect("read"));

    // Altered code with a checksum that fits: whoever can write there can compute one.
    let mut code = good[32..].to_vec();
    let last = code.len() - 1;
    code[last] ^= 1;
    let forged = [Sha256::digest(&code).as_slice(), &code].concat();
    std::fs::write(&ours, &forged).expect("written");
    load(guest().to_vec()).await;
    assert_ne!(std::fs::read(&ours).expect("read"), forged, "it was compiled again");

    // An entry of another data directory, which has another key.
    let key = dir.path().join("cache.key");
    let mode = || std::fs::metadata(&key).expect("a key").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let mended = std::fs::read(&ours).expect("read");
    load(guest().to_vec()).await;
    assert_eq!(std::fs::read(&ours).expect("read"), mended, "a sound entry is used");
    std::fs::remove_file(&key).expect("removed");
    load(guest().to_vec()).await;
    assert_ne!(std::fs::read(&ours).expect("read"), mended, "it was compiled again");

    // A key that others have read proves nothing any more.
    let before = std::fs::read(&key).expect("read");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("mode");
    load(guest().to_vec()).await;
    assert_ne!(std::fs::read(&key).expect("read"), before);
    assert_eq!(mode(), 0o600);

    // Without a key, as after an upgrade from a version that sealed nothing, no entry is kept: it
    // would be told as damaged.
    assert!(ours.exists());
    std::fs::remove_file(&key).expect("removed");
    let _started = fresh();
    assert!(!ours.exists());
}

#[tokio::test]
async fn a_cache_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("dir");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("mode");
    let refused = Host::new(HostOptions { cache_dir: Some(dir.path().to_owned()), ..options() });
    assert!(refused.is_err_and(|error| error.to_string().contains("others may write")));
}
