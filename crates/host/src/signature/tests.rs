//! With the real ssh-keygen.

use super::*;
use std::path::PathBuf;
use tempfile::TempDir;

const NAMESPACE: &str = "firewarden-change";
const STATEMENT: &str = "firewarden change 2026-11-21-allow-metrics plan 00 record 11\n";

/// A folder with keys. `None` where ssh-keygen is missing, which CI doesn't allow.
struct Keys(TempDir);

impl Keys {
    fn new(names: &[&str]) -> Option<Keys> {
        if program::find(PROGRAM).is_none() {
            assert!(std::env::var_os("CI").is_none(), "ssh-keygen is not installed");
            eprintln!("skipped: ssh-keygen is not installed");
            return None;
        }
        let keys = Keys(tempfile::tempdir().unwrap());
        for name in names {
            let made = Command::new(PROGRAM)
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(keys.path(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        Some(keys)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An `allowed_signers` with a line for each: the person, options, and whose key.
    fn signers(&self, lines: &[(&str, &str, &str)]) -> PathBuf {
        let text: String = lines
            .iter()
            .map(|(person, options, key)| {
                let public = std::fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
                format!("{person} {options} {public}")
            })
            .collect();
        let path = self.path("allowed_signers");
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn check(signers: &Path, person: &str, message: &str, signature: &str) -> Result<String, SignatureError> {
    verify(signers, None, person, NAMESPACE, message, signature)
}

#[test]
fn a_signature_is_of_its_key_person_namespace_and_message() {
    let Some(keys) = Keys::new(&["bob", "carol"]) else { return };
    let signers = keys.signers(&[("bob@example.org", "", "bob"), ("carol", "", "carol")]);
    let signature = sign(&keys.path("bob"), NAMESPACE, STATEMENT).unwrap();
    let key = check(&signers, "bob@example.org", STATEMENT, &signature).unwrap();
    assert!(key.starts_with("SHA256:") && key.len() > 40, "{key}");
    let refused = |result: Result<String, SignatureError>| {
        assert!(matches!(&result, Err(SignatureError::Refused(_))), "{result:?}");
    };
    // Another person, nobody, another message, another namespace, another signature.
    refused(check(&signers, "carol", STATEMENT, &signature));
    refused(check(&signers, "dave", STATEMENT, &signature));
    refused(check(&signers, "-Y", STATEMENT, &signature));
    refused(check(&signers, "bob@example.org", &STATEMENT.replace("00", "01"), &signature));
    refused(check(&signers, "bob@example.org", STATEMENT.trim_end(), &signature));
    let elsewhere = sign(&keys.path("bob"), "file", STATEMENT).unwrap();
    refused(check(&signers, "bob@example.org", STATEMENT, &elsewhere));
    refused(check(&signers, "bob@example.org", STATEMENT, &signature.replace("U1NIU0lH", "U1NIU0lI")));
    refused(check(&signers, "bob@example.org", STATEMENT, ""));
    refused(check(&signers, "bob@example.org", STATEMENT, "-----BEGIN SSH SIGNATURE-----\n"));
    refused(check(&keys.path("none"), "bob@example.org", STATEMENT, &signature));
}

#[test]
fn keys_that_are_not_valid_any_more_do_not_count() {
    let Some(keys) = Keys::new(&["bob"]) else { return };
    let signature = sign(&keys.path("bob"), NAMESPACE, STATEMENT).unwrap();
    for (options, counts) in [
        ("valid-before=\"20200101\"", false),
        ("valid-after=\"21000101\"", false),
        ("valid-after=\"20200101\",valid-before=\"21000101\"", true),
        ("namespaces=\"file,git\"", false),
        ("namespaces=\"firewarden-change\"", true),
    ] {
        let signers = keys.signers(&[("bob", options, "bob")]);
        assert_eq!(check(&signers, "bob", STATEMENT, &signature).is_ok(), counts, "{options}");
    }
    let signers = keys.signers(&[("bob", "", "bob")]);
    let revoked = keys.path("revoked");
    std::fs::copy(keys.path("bob.pub"), &revoked).unwrap();
    let result = verify(&signers, Some(&revoked), "bob", NAMESPACE, STATEMENT, &signature);
    assert!(matches!(result, Err(SignatureError::Refused(_))), "{result:?}");
}

#[test]
fn what_is_no_key_does_not_sign() {
    let Some(keys) = Keys::new(&["bob"]) else { return };
    std::fs::write(keys.path("text"), "not a key\n").unwrap();
    for name in ["text", "missing"] {
        let result = sign(&keys.path(name), NAMESPACE, STATEMENT);
        assert!(matches!(&result, Err(SignatureError::Unsigned(words)) if !words.is_empty()), "{result:?}");
    }
}
