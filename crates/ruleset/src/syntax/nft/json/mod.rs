//! nft JSON to the syntax tree: `nft -j list ruleset`, and lists of commands as `nft -j -f` reads them
//! (libnftables-json(5)).
//!
//! The tree is the one that the text parser makes of the same ruleset, but flat: chains and rules come as commands
//! of their own, as they stand in the list. What is well formed and not known is kept as an opaque statement or
//! expression with its text. Places are those in the JSON text.

mod commands;
mod expressions;
mod reader;
mod statements;

use super::ast::{Command, OPAQUE_TEXT_MAX, Opaque, Script};
use crate::findings::Findings;
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use reader::{Bad, Node, Reader};

/// Reads a text. Diagnostics are in the order of the text, a bounded number. Linear in the text; besides
/// the tree, memory is bounded by the largest object in the list.
pub fn parse(file: FileId, text: &str) -> (Script, Vec<Diagnostic>) {
    let mut walk = Walk { text, depth: 0, diagnostics: Findings::default() };
    let mut commands = Vec::new();
    if u32::try_from(text.len()).is_err() {
        walk.report(Diagnostic::error("file-too-large", "the text has more than 4 GiB"));
    } else if let Err(bad) = walk.document(file, &mut commands) {
        walk.report(
            Diagnostic::error("json", bad.message)
                .at(bad.span, "not JSON from here on")
                .help("give the whole output of `nft -j list ruleset`"),
        );
    }
    (Script { commands }, walk.diagnostics.finish())
}

/// The way through a document.
struct Walk<'t> {
    text: &'t str,
    depth: u32,
    diagnostics: Findings,
}

impl<'t> Walk<'t> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// `{"nftables": [command, …]}`. Holds one command at a time.
    fn document(&mut self, file: FileId, commands: &mut Vec<Command>) -> Result<(), Bad> {
        let mut reader = Reader::new(file, self.text);
        let mut found = false;
        if !reader.eat(b'{') {
            reader.value()?;
            return self.not_nftables(reader.first());
        }
        let mut more = !reader.eat(b'}');
        while more {
            let key = reader.key()?;
            if key == "nftables" && found {
                return Err(Bad {
                    span: reader.here(),
                    message: "the list `nftables` stands here a second time",
                });
            }
            if key == "nftables" && reader.eat(b'[') {
                found = true;
                let mut items = !reader.eat(b']');
                while items {
                    let node = reader.value()?;
                    if let Some(command) = self.command(&node) {
                        commands.push(command);
                    }
                    items = reader.next_item(b']')?;
                }
            } else {
                reader.value()?;
            }
            more = reader.next_item(b'}')?;
        }
        if !reader.at_end() {
            return Err(Bad { span: reader.here(), message: "there is more text after the end" });
        }
        if found { Ok(()) } else { self.not_nftables(reader.first()) }
    }

    fn not_nftables(&mut self, span: Span) -> Result<(), Bad> {
        self.report(
            Diagnostic::error("json", "this JSON is not a ruleset: there is no list `nftables`")
                .at(span, "expected `{\"nftables\": [...]}`")
                .help("give the output of `nft -j list ruleset`"),
        );
        Ok(())
    }

    /// The text of a node, as kept for what isn't known.
    fn opaque(&self, node: &Node<'_>) -> Opaque {
        let text = self.text.get(node.span.start as usize..node.span.end as usize).unwrap_or_default();
        let end =
            (0..=OPAQUE_TEXT_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        Opaque { span: node.span, text: text.get(..end).unwrap_or_default().into() }
    }
}
