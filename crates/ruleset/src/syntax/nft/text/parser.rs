//! The parser's ground: tokens, errors, recovery, and what may stand in every block.

use super::super::ast::*;
use super::super::names;
use super::context::{Context, Variable};
use super::lexer::{self, Kind, Lexer, Token};
use super::mistakes;
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use std::sync::Arc;

/// The reading of something ended; a diagnostic was reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abort;

pub(super) type Parsed<T> = Result<T, Abort>;

/// What stands in a block, for the files that are included in it.
pub(super) type Body<'b, 'p> = &'b mut dyn FnMut(&mut Parser<'_, '_, 'p>);

/// Reads one file.
pub(super) struct Parser<'t, 'c, 'p> {
    pub(super) file: FileId,
    pub(super) lexer: Lexer<'t>,
    /// The token that is looked at; not yet taken.
    pub(super) token: Token,
    /// The end of the token before it.
    pub(super) end: u32,
    /// How many braces are open.
    pub(super) braces: u32,
    /// How deep blocks and expressions are nested, and how deep they were at most since it was last set.
    nesting: u32,
    deepest: u32,
    /// How many tokens were taken.
    taken: u64,
    /// The place of everything, where the text stands inside a string of another.
    pinned: Option<Span>,
    /// Statements of the rules that are being read.
    pub(super) scratch: Vec<Statement>,
    pub(super) context: &'c mut Context<'p>,
}

impl<'t, 'c, 'p> Parser<'t, 'c, 'p> {
    pub(super) fn new(file: FileId, text: &'t str, context: &'c mut Context<'p>) -> Parser<'t, 'c, 'p> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next();
        Parser {
            file,
            lexer,
            token,
            end: 0,
            braces: 0,
            nesting: 0,
            deepest: 0,
            taken: 0,
            pinned: None,
            scratch: Vec::new(),
            context,
        }
    }

    /// Says what is to be said about the file as a whole, and about what is left of it.
    pub(super) fn finish(&mut self) {
        while self.token.kind != Kind::Eof {
            if self.token.kind == Kind::RBrace {
                let span = self.token_span();
                self.context.report(
                    Diagnostic::error("unmatched-brace", "this `}` closes nothing")
                        .at(span, "no block is open here")
                        .help("remove it, or add the `{` that it belongs to"),
                );
            }
            self.bump();
        }
        if let Some(at) = self.lexer.template {
            let span = self.span(at, at + 2);
            let in_quotes = self.lexer.slice(at, at + 1) == "\"";
            self.context.replace_errors_of_file(
                Diagnostic::error("template", "this file is a template, not a ruleset")
                    .at(span, "a marker of a template language")
                    .help("render the template first and check what it gives"),
                in_quotes,
            );
        } else if let Some(at) = self.lexer.carriage_return {
            let span = self.span(at, at + 1);
            self.context.report(
                Diagnostic::error("crlf", "lines end with carriage returns, which nft refuses")
                    .at(span, "the first one")
                    .help("convert the file to Unix line ends, for example with `dos2unix`"),
            );
        }
    }

    /// Gives this place to all that is read.
    pub(super) fn pin(&mut self, at: Span) {
        self.pinned = Some(at);
    }

    pub(super) fn span(&self, start: u32, end: u32) -> Span {
        self.pinned.unwrap_or(Span { file: self.file, start, end })
    }

    /// From `start` to the end of the last token taken.
    pub(super) fn span_from(&self, start: u32) -> Span {
        self.span(start, self.end.max(start))
    }

    pub(super) fn token_span(&self) -> Span {
        self.span(self.token.start, self.token.end)
    }

    pub(super) fn token_text(&self) -> &'t str {
        self.lexer.slice(self.token.start, self.token.end)
    }

    /// The text of the token if it is a word; else nothing.
    pub(super) fn word(&self) -> &'t str {
        if self.token.kind == Kind::Word { self.token_text() } else { "" }
    }

    /// Takes the token.
    pub(super) fn bump(&mut self) {
        match self.token.kind {
            Kind::LBrace => self.braces += 1,
            Kind::RBrace => self.braces = self.braces.saturating_sub(1),
            _ => {}
        }
        self.taken += 1;
        self.end = self.token.end;
        self.token = self.lexer.next();
    }

    pub(super) fn at(&self, kind: Kind) -> bool {
        self.token.kind == kind
    }

    /// Takes the token if it is of this kind.
    pub(super) fn eat(&mut self, kind: Kind) -> bool {
        let fits = self.token.kind == kind;
        if fits {
            self.bump();
        }
        fits
    }

    /// Takes the token if it is this word.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let fits = self.word() == word;
        if fits {
            self.bump();
        }
        fits
    }

    /// The token after the present one.
    pub(super) fn peek_second(&self) -> (Kind, &'t str) {
        let mut ahead = self.lexer;
        let token = ahead.next();
        (token.kind, self.lexer.slice(token.start, token.end))
    }

    /// Whether a statement or line ends here.
    pub(super) fn at_end(&self) -> bool {
        matches!(self.token.kind, Kind::Newline | Kind::Semicolon | Kind::RBrace | Kind::Eof)
    }

    pub(super) fn skip_newlines(&mut self) {
        while self.at(Kind::Newline) {
            self.bump();
        }
    }

    /// Reports, and ends the reading of what is being read.
    pub(super) fn fail<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        self.context.report(diagnostic);
        Err(Abort)
    }

    /// How the present token is called in a message.
    pub(super) fn found(&self) -> String {
        let text = self.token_text();
        match self.token.kind {
            Kind::Newline => "the end of the line".to_owned(),
            Kind::Eof => "the end of the file".to_owned(),
            _ if text.len() > 40 => {
                let end = (0..=40).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
                format!("`{}...`", text.get(..end).unwrap_or_default().replace('`', "'"))
            }
            _ => format!("`{}`", text.replace('`', "'")),
        }
    }

    /// Something else should stand here. `what` is like `a port`.
    pub(super) fn expected<T>(&mut self, what: &str) -> Parsed<T> {
        let found = self.found();
        let span = self.token_span();
        let diagnostic = match self.token.kind {
            Kind::OpenQuote => Diagnostic::error("unclosed-quote", "a quoted string has no end")
                .at(span, "opened here")
                .help("add the closing `\"`"),
            Kind::BadAddress => mistakes::bad_address(self.token_text(), span),
            Kind::Junk => Diagnostic::error("unexpected-character", format!("{found} has no place here"))
                .at(span, format!("expected {what}"))
                .help("remove the character, or put the name it belongs to in quotes"),
            _ => Diagnostic::error("syntax", format!("expected {what}, found {found}"))
                .at(span, format!("expected {what}")),
        };
        self.fail(diagnostic)
    }

    /// Fails where the present token is the rest of something that began as an address or a number.
    pub(super) fn refuse_glued(&mut self) -> Parsed<()> {
        match mistakes::glued(self.lexer.text(), self.token.start as usize) {
            Some((start, end)) if self.token.start == self.end => {
                let (start, end) = (start as u32, end as u32);
                let span = self.span(start, end);
                self.fail(mistakes::nearly(self.lexer.slice(start, end), span))
            }
            _ => Ok(()),
        }
    }

    /// A word that isn't one of those that may stand here.
    pub(super) fn unknown_word<T>(&mut self, what: &str, known: &[&'static str]) -> Parsed<T> {
        if self.token.kind != Kind::Word {
            return self.expected(what);
        }
        let word = self.token_text();
        let span = self.token_span();
        let diagnostic = Diagnostic::error("unknown-word", format!("`{word}` is not {what}"))
            .at(span, format!("not {what}"));
        let diagnostic = match self.context.nearest(word, known.iter().copied()) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None if known.len() <= 24 => diagnostic.help(format!("it is one of {}", known.join(", "))),
            None => diagnostic,
        };
        self.fail(diagnostic)
    }

    /// Takes a token of this kind, or fails.
    pub(super) fn expect(&mut self, kind: Kind, what: &str) -> Parsed<()> {
        if self.eat(kind) { Ok(()) } else { self.expected(what) }
    }

    /// Takes this word, or fails.
    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word) { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    /// Takes one of these words, or fails.
    pub(super) fn expect_one_of(&mut self, what: &str, known: &[&'static str]) -> Parsed<&'static str> {
        match names::word(known, self.word()) {
            Some(word) => {
                self.bump();
                Ok(word)
            }
            None => self.unknown_word(what, known),
        }
    }

    /// Takes the end of a line: a newline, a `;`, or (not taken) what ends the block.
    pub(super) fn expect_end(&mut self) -> Parsed<()> {
        match self.token.kind {
            Kind::Newline | Kind::Semicolon => {
                self.bump();
                Ok(())
            }
            Kind::RBrace | Kind::Eof => Ok(()),
            _ => self.expected("a line end or `;`"),
        }
    }

    pub(super) fn number(&mut self, what: &str) -> Parsed<u64> {
        let value = match self.token.kind {
            Kind::Number => lexer::parse_number(self.token_text()),
            Kind::Dollar => {
                let expr = self.variable()?;
                return match expr.resolved().kind {
                    ExprKind::Number(number) => Ok(number),
                    _ => self.fail(
                        Diagnostic::error("syntax", "this variable is not a number")
                            .at(expr.span, format!("expected {what}")),
                    ),
                };
            }
            _ => return self.expected(what),
        };
        match value {
            Some(number) => {
                self.bump();
                Ok(number)
            }
            None => self.number_too_large(),
        }
    }

    pub(super) fn number_too_large<T>(&mut self) -> Parsed<T> {
        let span = self.token_span();
        self.fail(
            Diagnostic::error("number-too-large", format!("{} is too large", self.found()))
                .at(span, "more than 64 bits")
                .help("no field of a packet is that large; correct the number"),
        )
    }

    /// A time, in milliseconds: `1h30m`, or a number of seconds.
    pub(super) fn time(&mut self) -> Parsed<u64> {
        if matches!(self.token.kind, Kind::Time | Kind::Number)
            && let Some(time) = lexer::parse_time(self.token_text())
        {
            self.bump();
            return Ok(time);
        }
        self.expected("a time such as `30s` or `1d2h`")
    }

    /// An identifier: the name of a table, chain, set, ….
    pub(super) fn name(&mut self, what: &str) -> Parsed<Name> {
        match self.token.kind {
            Kind::Word | Kind::Quoted => {
                let name = Name { text: self.unquoted().into(), span: self.token_span() };
                self.bump();
                Ok(name)
            }
            _ => self.expected(what),
        }
    }

    /// The text of the token without its quotes.
    pub(super) fn unquoted(&self) -> &'t str {
        let text = self.token_text();
        match self.token.kind {
            Kind::Quoted => text.get(1..text.len().saturating_sub(1)).unwrap_or_default(),
            _ => text,
        }
    }

    /// A string, quoted or not, or a variable that holds one.
    pub(super) fn string(&mut self, what: &str) -> Parsed<Name> {
        match self.token.kind {
            Kind::Word | Kind::StarWord | Kind::Quoted => {
                let name = Name { text: self.unquoted().into(), span: self.token_span() };
                self.bump();
                Ok(name)
            }
            Kind::Dollar => {
                let expr = self.variable()?;
                match expr.word() {
                    Some(text) => Ok(Name { text: text.into(), span: expr.span }),
                    None => self.fail(
                        Diagnostic::error("syntax", "this variable is not a string")
                            .at(expr.span, format!("expected {what}")),
                    ),
                }
            }
            _ => self.expected(what),
        }
    }

    /// `$name`, looked up.
    pub(super) fn variable(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        self.expect(Kind::Dollar, "`$`")?;
        if self.token.kind != Kind::Word || self.token.start != self.end {
            return self.expected("the name of a variable right after `$`");
        }
        let name = Name { text: self.token_text().into(), span: self.span(start, self.token.end) };
        let Some(Variable { definition, weight, depth }) = self.context.lookup(&name.text).cloned() else {
            let diagnostic = self.context.undefined(&name);
            return self.fail(diagnostic);
        };
        self.bump();
        if self.nesting + depth > MAX_DEPTH {
            return self.too_deep(name.span);
        }
        if !self.context.count_use(weight, depth) {
            return self.fail(
                Diagnostic::error(
                    "variable-too-large",
                    format!("variables stand for more than {MAX_EXPANSION} values"),
                )
                .at(name.span, "this use is one too many")
                .help("put the values into a named set and refer to it with `@`"),
            );
        }
        Ok(Expr { span: name.span, kind: ExprKind::Variable(definition) })
    }

    fn too_deep<T>(&mut self, span: Span) -> Parsed<T> {
        self.fail(
            Diagnostic::error("nesting-too-deep", format!("nested more than {MAX_DEPTH} deep"))
                .at(span, "one level too many")
                .help("write it with fewer levels"),
        )
    }

    /// Goes one level deeper; call [`Parser::leave`] on the way back unless it fails.
    pub(super) fn enter(&mut self) -> Parsed<()> {
        if self.nesting >= MAX_DEPTH {
            let span = self.token_span();
            return self.too_deep(span);
        }
        self.nesting += 1;
        self.deepest = self.deepest.max(self.nesting);
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.nesting = self.nesting.saturating_sub(1);
    }

    /// Runs `read` one level deeper.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.enter()?;
        let result = read(self);
        self.leave();
        result
    }

    /// Passes everything up to the end of the line (or `;`) that is at the depth `braces`, or to the `}` that closes
    /// the block around. None of these is taken.
    pub(super) fn skip_to_end(&mut self, braces: u32) {
        while self.token.kind != Kind::Eof {
            let outside = self.braces <= braces;
            match self.token.kind {
                Kind::Newline | Kind::Semicolon | Kind::RBrace if outside => return,
                _ => self.bump(),
            }
        }
    }

    /// What was passed from `start` on, as opaque text. Takes the line end too.
    pub(super) fn invalid(&mut self, start: u32, braces: u32) -> Opaque {
        self.skip_to_end(braces);
        let opaque = self.opaque(start);
        if matches!(self.token.kind, Kind::Newline | Kind::Semicolon) {
            self.bump();
        }
        opaque
    }

    /// The text from `start` to the last token taken.
    pub(super) fn opaque(&self, start: u32) -> Opaque {
        let text = self.lexer.slice(start, self.end.max(start));
        Opaque { span: self.span_from(start), text: cut(text).into() }
    }

    /// `{`, lines, `}`. `line` reads one line, or fails; then `invalid` gets what was passed. The `}` is taken.
    pub(super) fn block(
        &mut self,
        line: &mut dyn FnMut(&mut Parser<'_, '_, 'p>) -> Parsed<()>,
        invalid: &mut dyn FnMut(Opaque),
    ) -> Parsed<()> {
        let open = self.token_span();
        self.expect(Kind::LBrace, "`{`")?;
        self.enter()?;
        self.lines(line, invalid);
        self.leave();
        if self.eat(Kind::RBrace) {
            return Ok(());
        }
        self.fail(
            Diagnostic::error("unclosed-block", "a block has no end")
                .at(open, "opened here")
                .help("add the closing `}`"),
        )
    }

    /// The lines of a block, up to its `}` or the end of the file, which aren't taken.
    fn lines(
        &mut self,
        line: &mut dyn FnMut(&mut Parser<'_, '_, 'p>) -> Parsed<()>,
        invalid: &mut dyn FnMut(Opaque),
    ) {
        let braces = self.braces;
        loop {
            match self.token.kind {
                Kind::Newline | Kind::Semicolon => self.bump(),
                Kind::RBrace | Kind::Eof => return,
                _ => {
                    let start = self.token.start;
                    let nesting = self.nesting;
                    let scratch = self.scratch.len();
                    let result = match self.word() {
                        "include" => self.include(&mut |parser| parser.lines(line, invalid)).map(|_| ()),
                        "define" | "redefine" | "undefine" => self.definition().map(|_| ()),
                        _ => line(self),
                    };
                    if result.is_err() {
                        self.nesting = nesting;
                        self.scratch.truncate(scratch);
                        let opaque = self.invalid(start, braces);
                        invalid(opaque);
                    }
                }
            }
        }
    }

    /// `include "pattern"`: reads the files with `body`.
    pub(super) fn include(&mut self, body: Body<'_, 'p>) -> Parsed<Target> {
        self.expect_word("include")?;
        if self.token.kind != Kind::Quoted {
            return self.expected("a file name in quotes");
        }
        let pattern = self.name("a file name in quotes")?;
        self.expect_end()?;
        let files = match self.context.provider.open(self.file, &pattern.text) {
            Ok(files) => files,
            Err(why) => {
                let message = format!("cannot include `{}`: {why}", pattern.text);
                let diagnostic = Diagnostic::error("include", message)
                    .at(pattern.span, "asked for here")
                    .help("give the file along with this one, or remove the line");
                self.context.report(diagnostic);
                return Ok(Target::Include { pattern, files: Vec::new() });
            }
        };
        let mut ids = Vec::with_capacity(files.len());
        for (id, text) in files {
            if let Err(diagnostic) = self.context.may_include(id, pattern.span) {
                self.context.report(*diagnostic);
                break;
            }
            ids.push(id);
            let nesting = self.nesting;
            self.context.with_file(id, Some(pattern.span), |context| {
                let mut parser = Parser::new(id, &text, context);
                parser.nesting = nesting;
                body(&mut parser);
                parser.finish();
            });
        }
        Ok(Target::Include { pattern, files: ids })
    }

    /// `define`, `redefine`, `undefine`.
    pub(super) fn definition(&mut self) -> Parsed<Target> {
        let verb = self.word();
        self.bump();
        let name = match self.token.kind {
            Kind::Word => self.name("the name of a variable")?,
            _ => return self.expected("the name of a variable"),
        };
        if verb == "undefine" {
            if !self.context.undefine(&name.text) {
                let diagnostic = self.context.undefined(&name);
                return self.fail(diagnostic);
            }
            self.expect_end()?;
            return Ok(Target::Undefine(name));
        }
        self.expect(Kind::Assign, "`=`")?;
        let (taken, deepest) = (self.taken, std::mem::replace(&mut self.deepest, self.nesting));
        let before = self.context.measure();
        let value = self.initializer();
        let (weight, depth) = self.context.measured(before);
        let depth = depth + (self.deepest - self.nesting.min(self.deepest)) + 1;
        self.deepest = deepest.max(self.deepest);
        let value = value?;
        if depth > MAX_DEPTH {
            return self.too_deep(value.span);
        }
        self.expect_end()?;
        if verb == "define"
            && let Some(first) = self.context.defined_here(&name.text)
        {
            let diagnostic =
                Diagnostic::error("redefinition", format!("variable `{}` is defined twice", name.text))
                    .at(name.span, "defined again")
                    .see(first.definition.name.span, "first defined here")
                    .help("use `redefine`, or another name");
            return self.fail(diagnostic);
        }
        let definition = Arc::new(Definition { name, value });
        let weight = weight.saturating_add(self.taken - taken);
        self.context.define(Variable { definition: Arc::clone(&definition), weight, depth });
        Ok(Target::Define(definition))
    }
}

/// The first [`OPAQUE_TEXT_MAX`] bytes of a text, at most.
pub(in super::super) fn cut(text: &str) -> &str {
    let text = text.trim_end();
    let end = (0..=OPAQUE_TEXT_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
