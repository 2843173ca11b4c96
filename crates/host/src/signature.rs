//! Signatures of ssh-keygen(1): `-Y sign` and `-Y verify`. Keys stay where they are, in files, agents or hardware.

use crate::program::{self, ProgramError};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program.
const PROGRAM: &str = "ssh-keygen";
/// The most bytes of its words that are passed on.
const MOST_WORDS: usize = 300;

/// Why there is no signature, or none that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// ssh-keygen can't be run, or files for it can't be written.
    #[error("{0}")]
    Unavailable(String),
    /// It can't sign with the key; its words.
    #[error("ssh-keygen doesn't sign: {0}")]
    Unsigned(String),
    /// The signature isn't that person's, or their key isn't valid; its words.
    #[error("ssh-keygen doesn't accept it: {0}")]
    Refused(String),
}

impl From<ProgramError> for SignatureError {
    fn from(error: ProgramError) -> SignatureError {
        SignatureError::Unavailable(error.to_string())
    }
}

/// Signs a message for a namespace. The key is a private one, or a public one whose private one an agent holds. ssh-keygen
/// asks on the terminal for a passphrase or a touch where the key needs it; its questions go to standard error.
///
/// # Errors
/// [`SignatureError`].
pub fn sign(key: &Path, namespace: &str, message: &str) -> Result<String, SignatureError> {
    let mut command = ssh_keygen()?;
    command.args(["-Y", "sign", "-q", "-n", namespace, "-f"]).arg(key);
    let (status, out, err) = feed(command, message)?;
    match status && out.starts_with("-----BEGIN SSH SIGNATURE-----") {
        true => Ok(out),
        false => Err(SignatureError::Unsigned(words(&err, "no reason given"))),
    }
}

/// Whether a signature of a message is that person's, by a file in the format of `allowed_signers` and, where there is
/// one, a file of revoked keys (ssh-keygen(1), "KEY REVOCATION LISTS"). Gives the fingerprint of the key, `SHA256:…`. A key that is
/// past its `valid-before` or not allowed for the namespace counts as no key.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(
    signers: &Path,
    revoked: Option<&Path>,
    person: &str,
    namespace: &str,
    message: &str,
    signature: &str,
) -> Result<String, SignatureError> {
    let unavailable = |error: std::io::Error| SignatureError::Unavailable(error.to_string());
    let mut file = tempfile::NamedTempFile::new().map_err(unavailable)?;
    file.write_all(signature.as_bytes()).and_then(|()| file.flush()).map_err(unavailable)?;
    let mut command = ssh_keygen()?;
    command
        .args(["-Y", "verify", "-n", namespace, "-I", person, "-f"])
        .arg(signers)
        .arg("-s")
        .arg(file.path());
    if let Some(revoked) = revoked {
        command.arg("-r").arg(revoked);
    }
    let (status, out, err) = feed(command, message)?;
    // `Good "NAMESPACE" signature for PERSON with TYPE key FINGERPRINT`
    let key = out.lines().find_map(|line| line.rsplit_once(" key ")).map(|(_, key)| key.trim().to_owned());
    match key.filter(|key| status && key.starts_with("SHA256:")) {
        Some(key) => Ok(key),
        None => Err(SignatureError::Refused(words(&err, "no key of theirs that is valid made it"))),
    }
}

fn ssh_keygen() -> Result<Command, SignatureError> {
    let path = program::find(PROGRAM).ok_or_else(|| ProgramError::Missing(PROGRAM.to_owned()))?;
    let mut command = Command::new(path);
    command.env("LC_ALL", "C");
    Ok(command)
}

/// Runs it with the message on standard input: whether it ended well, and what it wrote.
fn feed(mut command: Command, message: &str) -> Result<(bool, String, String), SignatureError> {
    let failed =
        |error: std::io::Error| SignatureError::Unavailable(format!("`{PROGRAM}` can't be run: {error}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A statement fits into the pipe. A program that ends before it reads says itself why.
        let _ = input.write_all(message.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.success(), text(output.stdout), text(output.stderr)))
}

/// What it wrote, in one line.
fn words(text: &str, otherwise: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.is_empty() {
        true => otherwise.to_owned(),
        false => joined.chars().take(MOST_WORDS).collect(),
    }
}

#[cfg(test)]
mod tests;
