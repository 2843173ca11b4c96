//! The guard process of this crate's tests; the program has one of its own.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--detach", folder] => firewarden_host::guard::serve(Path::new(folder), true),
        [folder] => firewarden_host::guard::serve(Path::new(folder), false),
        _ => ExitCode::from(2),
    }
}
