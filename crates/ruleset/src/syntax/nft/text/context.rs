//! What all files of one script share: diagnostics, variables, the chain of includes.

use super::super::ast::{Definition, MAX_EXPANSION, Name};
use super::super::names;
use super::SourceProvider;
use crate::findings::clamp;
use firewarden_diagnostic::{Diagnostic, FileId, Severity, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What to do where nothing more particular can be said.
const REMEDY: &str = "correct it as nft(8) says; `nft -c -f` tells whether nft itself takes the file";

/// The most diagnostics of one script; one more says that there are others.
pub const MAX_DIAGNOSTICS: usize = 100;

/// The deepest nesting of includes; nft has the same.
pub const MAX_INCLUDE_DEPTH: usize = 16;

/// The most files that one script may include, each time counted.
pub const MAX_INCLUDED_FILES: usize = 4096;

/// A variable with what it costs to use it.
#[derive(Clone)]
pub(super) struct Variable {
    pub(super) definition: Arc<Definition>,
    /// How many expression nodes it stands for, about; an upper bound.
    pub(super) weight: u64,
    /// How deep they are nested, at most.
    pub(super) depth: u32,
}

/// A file that is being read.
struct OpenFile {
    id: FileId,
    /// The `include` that brought it.
    included: Option<Span>,
    /// How many diagnostics there were when it began.
    diagnostics: usize,
}

pub(super) struct Context<'p> {
    pub(super) provider: &'p mut dyn SourceProvider,
    diagnostics: Vec<Diagnostic>,
    hidden: usize,
    scopes: Vec<BTreeMap<Box<str>, Variable>>,
    files: Vec<OpenFile>,
    included: usize,
    /// Expression nodes that all uses of variables stand for.
    expanded: u64,
    /// The weight and depth of the variables used since [`Context::measure`] began.
    used: (u64, u32),
}

impl<'p> Context<'p> {
    pub(super) fn new(provider: &'p mut dyn SourceProvider) -> Context<'p> {
        Context {
            provider,
            diagnostics: Vec::new(),
            hidden: 0,
            scopes: vec![BTreeMap::new()],
            files: Vec::new(),
            included: 0,
            expanded: 0,
            used: (0, 0),
        }
    }

    pub(super) fn report(&mut self, mut diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            clamp(&mut diagnostic);
            diagnostic.help.get_or_insert_with(|| REMEDY.to_owned());
            self.diagnostics.push(diagnostic);
        } else {
            self.hidden += 1;
        }
    }

    /// The known word nearest to a misspelt one, while there is room to say so.
    pub(super) fn nearest<'a>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.diagnostics.len() < MAX_DIAGNOSTICS { names::nearest(word, known) } else { None }
    }

    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        if self.hidden > 0 {
            let message = match self.hidden {
                1 => "1 more error is not shown".to_owned(),
                more => format!("{more} more errors are not shown"),
            };
            let last = self.diagnostics.last().and_then(Diagnostic::span);
            let diagnostic = Diagnostic::new(Severity::Error, "too-many-errors", message)
                .help("correct the first ones and run again");
            self.diagnostics.push(match last {
                Some(span) => diagnostic.at(span, "the last one shown"),
                None => diagnostic,
            });
        }
        self.diagnostics
    }

    /// Runs `read` with the file on top of the chain of includes.
    pub(super) fn with_file(
        &mut self,
        id: FileId,
        included: Option<Span>,
        read: impl FnOnce(&mut Context<'p>),
    ) {
        self.files.push(OpenFile { id, included, diagnostics: self.diagnostics.len() });
        read(self);
        self.files.pop();
    }

    /// Puts one diagnostic in the place of those of the present file, if it has any.
    pub(super) fn replace_errors_of_file(&mut self, instead: Diagnostic, even_if_none: bool) {
        let begin = self.files.last().map_or(0, |file| file.diagnostics);
        if self.diagnostics.len() > begin || self.hidden > 0 || even_if_none {
            self.diagnostics.truncate(begin);
            self.report(instead);
        }
    }

    /// Checks that a file may be included here; else the diagnostic that says why not.
    pub(super) fn may_include(&mut self, id: FileId, at: Span) -> Result<(), Box<Diagnostic>> {
        if let Some(index) = self.files.iter().position(|file| file.id == id) {
            let mut diagnostic = Diagnostic::error("include-cycle", "this `include` ends in a cycle")
                .at(at, "reads a file that is being read already")
                .help("remove one of the `include` lines");
            for file in self.files.iter().skip(index + 1) {
                if let Some(span) = file.included {
                    diagnostic = diagnostic.see(span, "which came from here");
                }
            }
            return Err(Box::new(diagnostic));
        }
        if self.files.len() > MAX_INCLUDE_DEPTH {
            let message = format!("includes are nested more than {MAX_INCLUDE_DEPTH} deep");
            return Err(Box::new(
                Diagnostic::error("include-depth", message)
                    .at(at, "one too many")
                    .help("include the file from one nearer to the first"),
            ));
        }
        self.included += 1;
        if self.included > MAX_INCLUDED_FILES {
            let message = format!("more than {MAX_INCLUDED_FILES} files are included");
            return Err(Box::new(
                Diagnostic::error("include-count", message)
                    .at(at, "one too many")
                    .help("include each file once"),
            ));
        }
        Ok(())
    }

    pub(super) fn open_scope(&mut self) {
        self.scopes.push(BTreeMap::new());
    }

    pub(super) fn close_scope(&mut self) {
        if self.scopes.len() > 1 {
            self.scopes.pop();
        }
    }

    /// The innermost variable of this name.
    pub(super) fn lookup(&self, name: &str) -> Option<&Variable> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    /// Counts a use. False once the uses stand for more nodes than [`MAX_EXPANSION`].
    pub(super) fn count_use(&mut self, weight: u64, depth: u32) -> bool {
        self.expanded = self.expanded.saturating_add(weight);
        self.used = (self.used.0.saturating_add(weight), self.used.1.max(depth));
        self.expanded <= MAX_EXPANSION
    }

    /// Begins to sum up the variables that are used; give what it gives to [`Context::measured`].
    pub(super) fn measure(&mut self) -> (u64, u32) {
        std::mem::take(&mut self.used)
    }

    /// The weight and depth of the variables used since `measure`.
    pub(super) fn measured(&mut self, before: (u64, u32)) -> (u64, u32) {
        let used = self.used;
        self.used = (before.0.saturating_add(used.0), before.1.max(used.1));
        used
    }

    /// The variable of this name in the innermost scope.
    pub(super) fn defined_here(&self, name: &str) -> Option<&Variable> {
        self.scopes.last().and_then(|scope| scope.get(name))
    }

    pub(super) fn define(&mut self, variable: Variable) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(variable.definition.name.text.clone(), variable);
        }
    }

    /// Removes a variable from the innermost scope. False where there is none.
    pub(super) fn undefine(&mut self, name: &str) -> bool {
        self.scopes.last_mut().is_some_and(|scope| scope.remove(name).is_some())
    }

    /// The diagnostic for a variable that isn't defined.
    pub(super) fn undefined(&self, name: &Name) -> Diagnostic {
        let known = self.scopes.iter().flat_map(|scope| scope.keys()).map(|key| &**key);
        let diagnostic =
            Diagnostic::error("undefined-variable", format!("variable `{}` is not defined", name.text));
        // A word goes on over `/` and `-`, so `$net/24` asks for a variable called `net/24`.
        let stem = name.text.split(['/', '-', '.']).next().unwrap_or_default();
        if stem.len() < name.text.len() && self.lookup(stem).is_some() {
            let rest = name.text.get(stem.len()..).unwrap_or_default();
            return diagnostic
                .at(name.span, "nft reads all of this as the name")
                .help(format!("write a space after the name: `${stem} {rest}`"));
        }
        match self.nearest(&name.text, known) {
            Some(near) => diagnostic.at(name.span, "not defined").help(format!("did you mean `${near}`?")),
            None => diagnostic
                .at(name.span, "not defined")
                .help(format!("add `define {} = ...` above, or include the file that has it", name.text)),
        }
    }
}
