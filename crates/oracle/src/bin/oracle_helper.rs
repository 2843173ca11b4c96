//! A helper process for tests and other programs that cannot start themselves again.

use std::process::ExitCode;

fn main() -> ExitCode {
    firewarden_oracle::serve_helper()
}
