//! What reaches the terminal, a file or a pipe: formats, colours, and pipes that close early.

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use firewarden_diagnostic::render::{
    HumanOptions, Style, render_concise, render_diagnostics, render_github, render_human, render_json,
    render_junit, render_markdown, render_sarif,
};
use firewarden_diagnostic::{Diagnostic, Report, SourceMap};
use std::io::{ErrorKind, Write};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: the rule's line, the packet, its way, why, and what to change.
    #[default]
    Human,
    /// One line for each finding.
    Concise,
    /// Everything, for programs (`firewarden schema report` prints its JSON Schema).
    Json,
    /// For code scanning (SARIF 2.1.0).
    Sarif,
    /// For test reports of CI systems.
    Junit,
    /// Annotations of GitHub Actions.
    Github,
    /// For merge requests and documents.
    Markdown,
}

/// How a list of what is exposed, or the way of one packet, is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    #[default]
    Human,
    /// For programs (`firewarden schema` prints its JSON Schema).
    Json,
    /// For merge requests and documents.
    Markdown,
}

/// When colours are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set; everywhere where CLICOLOR_FORCE is.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    fn choice(self) -> ColorChoice {
        match self {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }

    /// Whether standard output gets escapes.
    pub fn style(self) -> Style {
        let stdout = AutoStream::new(std::io::stdout(), self.choice());
        style(stdout.current_choice())
    }

    /// Whether standard error gets escapes.
    pub fn error_style(self) -> Style {
        let stderr = AutoStream::new(std::io::stderr(), self.choice());
        style(stderr.current_choice())
    }
}

fn style(choice: ColorChoice) -> Style {
    match choice {
        ColorChoice::Never => Style::Plain,
        _ => Style::Color,
    }
}

/// A report in a format.
pub fn render(report: &Report, sources: &SourceMap, format: Format, style: Style) -> String {
    match format {
        Format::Human => render_human(report, sources, HumanOptions { style, passes: true }),
        Format::Concise => render_concise(report, sources),
        Format::Json => render_json(report, sources),
        Format::Sarif => render_sarif(report, sources),
        Format::Junit => render_junit(report, sources),
        Format::Github => render_github(report, sources),
        Format::Markdown => render_markdown(report, sources),
    }
}

/// Writes to standard output. A reader that has gone away is no error: whoever pipes into `head` has seen enough.
pub fn print(text: &str) -> Result<(), Diagnostic> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Diagnostic::error("unwritable", format!("cannot write the output: {error}"))
                .help("check the space on the disk that it goes to"))
        }
        _ => Ok(()),
    }
}

/// Writes diagnostics to standard error, as far as there is one.
pub fn complain(diagnostics: &[Diagnostic], sources: &SourceMap, color: Color) {
    let text = render_diagnostics(diagnostics, sources, color.error_style());
    // Nobody is left to be told where standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
