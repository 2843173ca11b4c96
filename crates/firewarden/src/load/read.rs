//! Bytes from files and standard input, and from bytes to text.
//!
//! What can't be a ruleset is refused here, with what to do about it: compressed files, UTF-16, binary data, input
//! without an end. Everything after this works on UTF-8 text of bounded size.

use firewarden_diagnostic::Diagnostic;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::Path;

/// The most bytes that are read from one input: far above the largest ruleset in use (a million rules are about
/// 100 MB), and below what a [`firewarden_diagnostic::Span`] can point into.
const MOST_BYTES: u64 = 512 << 20;

/// The share of control characters above which bytes are taken for binary data: one in this many.
const CONTROL_SHARE: usize = 100;

/// A text that was read.
#[derive(Debug)]
pub struct Text {
    /// The text, without a byte order mark.
    pub text: String,
    /// It wasn't UTF-8, and was read as ISO 8859-1: the offset of the first byte that shows it.
    pub latin1: Option<usize>,
}

/// Reads a file. Errors say which, why, and what to do.
pub fn read_file(path: &Path) -> Result<Text, Diagnostic> {
    let name = path.display().to_string();
    let failed = |error: &std::io::Error| {
        let problem = Diagnostic::error("unreadable", format!("cannot read `{name}`: {}", reason(error)));
        match error.kind() {
            ErrorKind::NotFound => problem.help("check the path; `-` reads from standard input"),
            ErrorKind::PermissionDenied => problem.help("run as a user who may read it"),
            ErrorKind::IsADirectory => problem.help("give a file, or a folder that has a `firewarden.yaml`"),
            _ => problem,
        }
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    if file.metadata().map_err(|error| failed(&error))?.is_dir() {
        return Err(failed(&std::io::Error::from(ErrorKind::IsADirectory)));
    }
    let bytes =
        read_limited(file, &name).map_err(|problem| problem.unwrap_or_else(|error| failed(&error)))?;
    decode(bytes, &name)
}

/// Reads standard input to its end.
pub fn read_stdin() -> Result<Text, Diagnostic> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Diagnostic::error(
            "stdin-terminal",
            "standard input is the terminal, so there is no ruleset to read",
        )
        .help("pipe a ruleset in, such as `sudo nft list ruleset | firewarden exposed -`, or give a file"));
    }
    let bytes = read_limited(stdin.lock(), "<stdin>").map_err(|problem| {
        problem.unwrap_or_else(|error| {
            Diagnostic::error("unreadable", format!("cannot read standard input: {}", reason(&error)))
        })
    })?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Diagnostic::error("empty-input", "standard input is empty")
            .because("the command before the pipe wrote nothing, so nothing is known of the firewall")
            .help("listing rules needs root: `sudo nft list ruleset`, `sudo iptables-save`; a host without any rule prints nothing either"));
    }
    decode(bytes, "<stdin>")
}

/// The system's words without the number behind them.
fn reason(error: &std::io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// A refusal, or what the system said.
type Unread = Result<Diagnostic, std::io::Error>;

/// Reads to the end, up to [`MOST_BYTES`]. Binary data is recognised early, so that `/dev/zero` ends at once.
fn read_limited(mut input: impl Read, name: &str) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    input.by_ref().take(1 << 16).read_to_end(&mut bytes).map_err(Err)?;
    if let Some(problem) = not_text(&bytes, name) {
        return Err(Ok(problem));
    }
    input.take(MOST_BYTES - (1 << 16) + 1).read_to_end(&mut bytes).map_err(Err)?;
    if bytes.len() as u64 > MOST_BYTES {
        let message = format!("`{name}` is larger than {} MiB", MOST_BYTES >> 20);
        return Err(Ok(Diagnostic::error("too-large", message)
            .because("no ruleset of this size is known, so it is not read any further")
            .help(
                "check that it is the right file; a large ruleset can be split into files for each table",
            )));
    }
    Ok(bytes)
}

/// What the first bytes of compressed files are (their formats' own documents), their name and the program that
/// unpacks them.
const COMPRESSED: [(&[u8], &str, &str); 5] = [
    (&[0x1F, 0x8B], "gzip", "zcat"),
    (&[0xFD, b'7', b'z', b'X', b'Z', 0], "xz", "xzcat"),
    (&[0x28, 0xB5, 0x2F, 0xFD], "zstd", "zstdcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

/// Why bytes can't be text, if they can't.
fn not_text(bytes: &[u8], name: &str) -> Option<Diagnostic> {
    for (magic, format, program) in COMPRESSED {
        if bytes.starts_with(magic) {
            return Some(
                Diagnostic::error("compressed-input", format!("`{name}` is compressed with {format}"))
                    .help(format!("unpack it first: `{program} FILE | firewarden check -`")),
            );
        }
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Some(
            Diagnostic::error("utf-16-input", format!("`{name}` is UTF-16 text"))
                .because(
                    "nft and iptables read and write UTF-8; some editors and shells on Windows save UTF-16",
                )
                .help("convert it first: `iconv -f UTF-16 -t UTF-8 FILE | firewarden check -`"),
        );
    }
    let controls = control_characters(bytes);
    if controls > bytes.len() / CONTROL_SHARE || (controls > 0 && bytes.contains(&0)) {
        return Some(
            Diagnostic::error("binary-input", format!("`{name}` is binary data, not a ruleset")).help(
                "give the text that `nft list ruleset`, `nft -j list ruleset`, `iptables-save` or `ipset save` prints",
            ),
        );
    }
    None
}

/// Counts the bytes that texts don't have. Written without branches, so that it becomes vector instructions; the count
/// of a chunk fits a byte.
fn control_characters(bytes: &[u8]) -> usize {
    let control = |&byte: &u8| {
        let layout = (byte == b'\t') | (byte == b'\n') | (byte == b'\r') | (byte == 0x0C) | (byte == 0x1B);
        u8::from((byte < 0x20) & !layout)
    };
    bytes.chunks(255).map(|chunk| usize::from(chunk.iter().map(control).sum::<u8>())).sum()
}

/// UTF-8, or else ISO 8859-1 byte by byte, which keeps different names different.
fn decode(mut bytes: Vec<u8>, name: &str) -> Result<Text, Diagnostic> {
    if let Some(problem) = not_text(&bytes, name) {
        return Err(problem);
    }
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        bytes.drain(..3);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { text, latin1: None }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = error.as_bytes().iter().map(|&byte| char::from(byte)).collect();
            Ok(Text { text, latin1: Some(valid) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        match decode(bytes.to_vec(), "x") {
            Ok(_) => "ok",
            Err(problem) => problem.code,
        }
    }

    #[test]
    fn what_is_not_text_is_refused() {
        assert_eq!(code(b"\x1f\x8b\x08\x00abc"), "compressed-input");
        assert_eq!(code(b"\xff\xfet\x00a\x00"), "utf-16-input");
        assert_eq!(code(b"table ip t\0"), "binary-input");
        assert_eq!(code(b"\x7fELF\x01\x02\x03"), "binary-input");
        assert_eq!(code(b"table ip t { }\n"), "ok");
    }

    #[test]
    fn other_encodings_keep_names_apart() {
        let text = decode(b"# caf\xe9 \xc3\xa9\n".to_vec(), "x").unwrap();
        assert_eq!(text.latin1, Some(5));
        assert_eq!(text.text, "# caf\u{e9} \u{c3}\u{a9}\n");
        let marked = decode(b"\xef\xbb\xbftable".to_vec(), "x").unwrap();
        assert_eq!((marked.text.as_str(), marked.latin1), ("table", None));
    }

    #[test]
    fn an_endless_file_ends() {
        let problem = read_limited(std::io::repeat(0), "zero").unwrap_err().unwrap();
        assert_eq!(problem.code, "binary-input");
    }
}
