//! nft text to the syntax tree: the language of `nft -f`, which is also what `nft list ruleset` prints.
//!
//! A lexer ([`lexer`]) and a parser by recursive descent. Parsing never fails as a whole: what can't be read becomes
//! an `Invalid` node and a diagnostic, and goes on at the next line or `;` of the same block. Time is linear in the
//! text, and memory is bounded by a small multiple of it.

mod blocks;
mod commands;
mod context;
mod expressions;
pub(super) mod lexer;
mod mistakes;
mod nat;
mod objects;
mod parser;
mod selectors;
mod sets;
mod statements;

use super::ast::{Command, Script, Statement, StatementKind};
use context::Context;
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use parser::Parser;
use std::sync::Arc;

// What JSON writes as text, or as the same words.
pub(super) use blocks::{empty_chain, empty_set, hook, priority_text};
pub(super) use commands::{empty_table, family};
pub(super) use statements::{bytes_factor, time_unit};

pub use context::{MAX_DIAGNOSTICS, MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES};

/// Where the texts of `include` come from. The parser does no I/O.
pub trait SourceProvider {
    /// The files that an `include "pattern"` in the file `from` stands for, in the order in which nft reads them.
    ///
    /// A pattern with wildcards may stand for no file; one without stands for exactly one. The same file gets the
    /// same id each time, so that a cycle is found. The error says in a few words why there is nothing, such as
    /// `there is no such file`.
    fn open(&mut self, from: FileId, pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String>;
}

/// A provider for texts that stand alone: every `include` is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIncludes;

impl SourceProvider for NoIncludes {
    fn open(&mut self, _from: FileId, _pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String> {
        Err("included files are not read here".to_owned())
    }
}

/// Parses a text, the commands of included files in their place. Diagnostics are in the order in which they were
/// found, at most [`MAX_DIAGNOSTICS`] of them and one that says so. Linear in the length of all texts.
pub fn parse(file: FileId, text: &str, provider: &mut dyn SourceProvider) -> (Script, Vec<Diagnostic>) {
    let mut context = Context::new(provider);
    let mut commands: Vec<Command> = Vec::new();
    if u32::try_from(text.len()).is_err() {
        context.report(Diagnostic::error("file-too-large", "the text has more than 4 GiB"));
    } else {
        context.with_file(file, None, |context| {
            let mut parser = Parser::new(file, text, context);
            parser.commands(&mut commands);
            parser.finish();
        });
    }
    (Script { commands }, context.finish())
}

/// The statements of a rule that stands inside another text, each with the place `at`. `None` where it isn't all
/// statements.
pub(super) fn parse_statements(text: &str, at: Span) -> Option<Vec<Statement>> {
    let mut no_includes = NoIncludes;
    let mut context = Context::new(&mut no_includes);
    let mut statements = Vec::new();
    context.with_file(at.file, None, |context| {
        let mut parser = Parser::new(at.file, text, context);
        parser.pin(at);
        statements = parser.rule().statements;
        parser.finish();
    });
    let known = |statement: &Statement| !matches!(statement.kind, StatementKind::Invalid(_));
    let valid = context.finish().is_empty() && statements.iter().all(known);
    valid.then_some(statements)
}
