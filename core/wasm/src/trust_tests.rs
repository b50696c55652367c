//! Signatures are made here with minisign's library for signing, and verified by the other library
//! that ships. `core/cli/tests/signing.rs` has minisign itself do both.

use super::*;
use crate::{Judged, KeyProblem, LoadError, Package, embed};
use minisign::KeyPair;
use wasm_encoder::{CustomSection, Section};

const COMMENT: &str = "signature of an Ostler driver";

/// The smallest component that has a manifest and is a driver by its exports.
fn component() -> Vec<u8> {
    let text =
        r#"(component (instance $i) (export "ostler:driver/snapshot-rules@0.1.0" (instance $i)))"#;
    let mut bytes = wat::parse_str(text).expect("text");
    let data = b"name = \"acme\"\nversion = \"1.2.0\"\nsummary = \"s\"\n".as_slice();
    CustomSection { name: "ostler:manifest".into(), data: data.into() }.append_to(&mut bytes);
    bytes
}

fn pair() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().expect("a pair of keys")
}

fn trusted(name: &str, pair: &KeyPair) -> TrustedKey {
    let key = PublicKey::parse(&pair.pk.to_base64()).expect("a key");
    TrustedKey { name: name.to_owned(), key }
}

fn id(pair: &KeyPair) -> String {
    KeyId::new(pair.pk.keynum().try_into().expect("eight bytes")).to_string()
}

fn policy(policy: Policy, keys: &[TrustedKey]) -> Trust {
    Trust { policy, keys: keys.to_vec(), ..Trust::default() }
}

fn sign_as(pair: &KeyPair, covered: &[u8], comment: &str) -> String {
    minisign::sign(Some(&pair.pk), &pair.sk, covered, Some(comment), Some(COMMENT))
        .expect("signed")
        .into_string()
}

fn sign(pair: &KeyPair, covered: &[u8]) -> String {
    let digest = crate::inspect::digest_of(covered);
    sign_as(pair, covered, &format!("timestamp:1\tdriver:acme\tsha256:{digest}"))
}

fn inside(pair: &KeyPair) -> Package {
    Package::bare("acme.wasm", embed(&component(), &sign(pair, &component())))
}

fn beside(pair: &KeyPair) -> Package {
    let signature = sign(pair, &component()).into_bytes();
    Package { beside: Some(signature), ..Package::bare("acme.wasm", component()) }
}

fn unsigned() -> Package {
    Package::bare("acme.wasm", component())
}

fn distrust(judged: Result<Judged, LoadError>) -> Distrust {
    match judged {
        Err(LoadError::Distrusted(distrust)) => distrust,
        other => panic!("{other:?}"),
    }
}

fn problem(judged: Result<Judged, LoadError>) -> SignatureProblem {
    match distrust(judged) {
        Distrust::Broken { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signature_of_a_trusted_key_counts_wherever_it_is() {
    let acme = pair();
    let trust = policy(Policy::Signed, &[trusted("acme", &acme)]);
    let plain = unsigned().judge(&Trust::default()).expect("all may be loaded");
    assert_eq!(plain.signers, []);
    for package in [inside(&acme), beside(&acme)] {
        let judged = package.judge(&trust).expect("trusted");
        let by = SignedBy { key: id(&acme), name: Some("acme".to_owned()) };
        assert_eq!(judged.signers, [by]);
        assert_eq!(judged.inspection.digest, plain.inspection.digest, "it is the same component");
        assert_eq!(judged.component_len, component().len());
    }
}

#[test]
fn a_signature_of_minisign_itself_counts() {
    // Its comments are its own, and name no digest.
    let acme = pair();
    let trust = policy(Policy::Signed, &[trusted("acme", &acme)]);
    let signature = sign_as(&acme, &component(), "timestamp:1\tfile:acme.wasm\thashed");
    let signature = signature.replace(COMMENT, "signature from minisign secret key");
    let package = Package { beside: Some(signature.clone().into_bytes()), ..unsigned() };
    assert!(package.judge(&trust).is_ok());
    // Inside of a component the untrusted comment is part of the one form that is allowed.
    let package = Package::bare("acme.wasm", embed(&component(), &signature));
    assert_eq!(problem(package.judge(&trust)), SignatureProblem::Format);
}

#[test]
fn a_refusal_names_the_file_the_driver_and_the_keys() {
    let (acme, other) = (pair(), pair());
    let trust = policy(Policy::Signed, &[trusted("acme", &acme)]);
    let digest = crate::inspect::digest_of(&component());
    let (acme_id, other_id) = (id(&acme), id(&other));
    let told = |package: Package, trust: &Trust| distrust(package.judge(trust)).to_string();
    assert_eq!(
        told(unsigned(), &trust),
        format!(
            "acme.wasm (driver acme, SHA-256 {digest}) is not signed, and only drivers that a \
             trusted key has signed may be loaded; trusted: acme ({acme_id})"
        )
    );
    for package in [inside(&other), beside(&other)] {
        assert_eq!(
            told(package, &trust),
            format!(
                "acme.wasm (driver acme, SHA-256 {digest}) is signed by key {other_id}, which is \
                 not trusted; trusted: acme ({acme_id})"
            )
        );
    }
    let pinned = Trust { policy: Policy::Pinned, pinned: ["0".repeat(64)].into(), ..trust };
    assert_eq!(
        told(inside(&acme), &pinned),
        format!(
            "acme.wasm (driver acme, SHA-256 {digest}) is not pinned, and only drivers whose \
             SHA-256 is listed may be loaded; listed: 1, this one is signed by acme ({acme_id})"
        )
    );
}

#[test]
fn a_pin_holds_the_component_and_not_its_signature() {
    let (acme, digest) = (pair(), crate::inspect::digest_of(&component()));
    let trust = Trust { policy: Policy::Pinned, pinned: [digest].into(), ..Trust::default() };
    for package in [unsigned(), inside(&acme), beside(&acme)] {
        assert!(package.judge(&trust).is_ok());
    }
    let mut altered = unsigned();
    let last = altered.bytes.len() - 2;
    altered.bytes[last] ^= 1;
    assert!(altered.judge(&trust).is_err());
}

#[test]
fn whoever_signs_what_a_vendor_signed_can_be_trusted_instead() {
    let (vendor, operator) = (pair(), pair());
    let mut both = inside(&vendor);
    both.beside = Some(sign(&operator, &both.bytes).into_bytes());
    let judged = both.judge(&policy(Policy::Signed, &[trusted("us", &operator)])).expect("ours");
    let names: Vec<_> = judged.signers.iter().map(|signer| signer.name.as_deref()).collect();
    assert_eq!(names, [None, Some("us")]);
    // It covers the file with the vendor's signature in it.
    both.bytes = component();
    let trust = policy(Policy::Signed, &[trusted("us", &operator)]);
    assert!(matches!(problem(both.judge(&trust)), SignatureProblem::OtherFile(_)));
}

#[test]
fn what_does_not_fit_is_refused_under_every_policy() {
    let (acme, other) = (pair(), pair());
    let keys = [trusted("acme", &acme)];
    let digest = crate::inspect::digest_of(&component());
    let signature = sign(&acme, &component());
    let with = |text: &str| Package { beside: Some(text.as_bytes().to_vec()), ..unsigned() };
    let first = |text: &str| text.lines().nth(1).expect("a line").to_owned();
    let named = |text: &str, key: &KeyPair| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut bytes = STANDARD.decode(first(text)).expect("base64");
        bytes[2..10].copy_from_slice(key.pk.keynum());
        text.replace(&first(text), &STANDARD.encode(bytes))
    };
    let legacy = signature.replace(&first(&signature), &format!("RWQ{}", &first(&signature)[3..]));
    let of_other = KeyId::new(other.pk.keynum().try_into().expect("eight"));
    let of_acme = KeyId::new(acme.pk.keynum().try_into().expect("eight"));
    let cases: [(&str, SignatureProblem); 8] = [
        ("", SignatureProblem::Format),
        ("hello", SignatureProblem::Format),
        (&signature.replace('\n', "\r\n"), SignatureProblem::Format),
        (&format!("{signature}more\n"), SignatureProblem::Format),
        (&legacy, SignatureProblem::Legacy),
        (&named(&sign(&other, &component()), &acme), SignatureProblem::Forged(of_acme)),
        (&named(&signature, &other), SignatureProblem::OtherKey { says: of_other, is: of_acme }),
        (&sign_as(&acme, b"another file", "timestamp:1"), SignatureProblem::Forged(of_acme)),
    ];
    for (text, expected) in cases {
        for policy_of in [Policy::None, Policy::Signed, Policy::Pinned] {
            let trust = Trust { pinned: [digest.clone()].into(), ..policy(policy_of, &keys) };
            assert_eq!(problem(with(text).judge(&trust)), expected, "{text}");
        }
    }
    // Even if no key is known: the comment names the digest.
    let damaged = with(&sign(&other, b"another file")).judge(&Trust::default());
    assert!(matches!(problem(damaged), SignatureProblem::OtherFile(_)));
}

/// Judges the package with each of its bytes changed in turn, and answers which of the changes went
/// unnoticed.
fn unnoticed(
    package: &Package,
    trust: &Trust,
    part: impl Fn(&mut Package) -> &mut Vec<u8>,
) -> Vec<usize> {
    let length = part(&mut package.clone()).len();
    let passes = |at: &usize| {
        [0x01, 0x20, 0x80].iter().any(|bit| {
            let mut altered = package.clone();
            part(&mut altered)[*at] ^= bit;
            altered.judge(trust).is_ok()
        })
    };
    (0..length).filter(passes).collect()
}

/// The place of the one character of a signature's text that has bits of the key's id and of the
/// signature itself: 80 bits come before the signature, and a character has 6. Changed, it may look
/// like a signature of a key that nobody knows. Such a signature cannot be verified, and is refused
/// only where a trusted one is asked for.
fn shared(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').expect("two lines") + 1 + 80 / 6
}

#[test]
fn no_byte_of_a_file_with_its_signature_inside_can_be_changed() {
    let acme = pair();
    let (package, keys) = (inside(&acme), [trusted("acme", &acme)]);
    let all = unnoticed(&package, &policy(Policy::Signed, &keys), |package| &mut package.bytes);
    assert_eq!(all, [0_usize; 0]);
    // Where unsigned components may be loaded, too, one may take the signature off: by renaming its
    // section, for example. The component is as it was signed.
    let off = unnoticed(&package, &policy(Policy::None, &keys), |package| &mut package.bytes);
    let header = component().len()..component().len() + 2 + 1 + "ostler:signature".len() + 1;
    let text = crate::embedded::split(&package.bytes).expect("sound").signature.expect("there");
    let shared = package.bytes.len() - text.len() + shared(text);
    let may = |at: &usize| header.contains(at) || *at == shared;
    assert!(off.iter().all(may), "{off:?} is not within {header:?}");
}

#[test]
fn no_byte_of_a_file_or_of_the_signature_beside_it_can_be_changed() {
    let acme = pair();
    let (package, keys) = (beside(&acme), [trusted("acme", &acme)]);
    for policy_of in [Policy::Signed, Policy::None] {
        let trust = policy(policy_of, &keys);
        let of_file = unnoticed(&package, &trust, |package| &mut package.bytes);
        assert_eq!(of_file, [0_usize; 0]);
        let of_signature =
            unnoticed(&package, &trust, |package| package.beside.as_mut().expect("there"));
        // Nothing relies on the untrusted comment, and the format lets it be anything.
        let comment = "untrusted comment:".len()..="untrusted comment: ".len() + COMMENT.len();
        let shared = shared(package.beside.as_ref().expect("there"));
        let may = |at: &usize| comment.contains(at) || (policy_of == Policy::None && *at == shared);
        assert!(of_signature.iter().all(may), "{of_signature:?}");
    }
}

#[test]
fn public_keys_are_told_from_secret_ones() {
    let acme = pair();
    let line = acme.pk.to_base64();
    let whole = acme.pk.to_box().expect("text").to_string();
    assert_eq!(PublicKey::parse(&line), PublicKey::parse(&whole));
    let secret = acme.sk.to_box(None).expect("text").to_string();
    assert_eq!(PublicKey::parse(&secret), Err(KeyProblem::Secret));
    for bad in ["", "RWQ", "hello", &format!("{line}\n{line}"), &line[1..]] {
        assert_eq!(PublicKey::parse(bad), Err(KeyProblem::Format), "{bad}");
    }
}
