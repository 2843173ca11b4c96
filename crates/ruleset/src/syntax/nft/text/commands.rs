//! Commands: the lines of a script outside of all blocks.

use super::super::ast::*;
use super::blocks::ItemKind;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};
use firewarden_diagnostic::Diagnostic;

const COMMANDS: &[&str] = &[
    "table",
    "add",
    "create",
    "insert",
    "replace",
    "delete",
    "destroy",
    "flush",
    "rename",
    "reset",
    "list",
    "get",
    "describe",
    "monitor",
    "export",
    "import",
    "chain",
    "rule",
    "set",
    "map",
    "element",
    "flowtable",
    "counter",
    "quota",
    "limit",
    "ct",
    "secmark",
    "synproxy",
    "tunnel",
    "meter",
    "include",
    "define",
    "redefine",
    "undefine",
];

const ITEMS: &[&str] = &[
    "table",
    "chain",
    "rule",
    "set",
    "map",
    "meter",
    "element",
    "flowtable",
    "counter",
    "quota",
    "limit",
    "ct",
    "secmark",
    "synproxy",
    "tunnel",
    "ruleset",
];

impl<'p> Parser<'_, '_, 'p> {
    /// Commands up to the end of the file, or to a `}` that closes nothing.
    pub(super) fn commands(&mut self, commands: &mut Vec<Command>) {
        loop {
            match self.token.kind {
                Kind::Newline | Kind::Semicolon => self.bump(),
                Kind::Eof | Kind::RBrace => return,
                _ => self.command(commands),
            }
        }
    }

    fn command(&mut self, commands: &mut Vec<Command>) {
        let start = self.token.start;
        let braces = self.braces;
        let scratch = self.scratch.len();
        let place = commands.len();
        let result = match self.word() {
            // The commands of the files come after the `include`, so keep its place.
            "include" => {
                let pattern = Name { text: "".into(), span: self.token_span() };
                let target = Target::Include { pattern, files: Vec::new() };
                commands.push(Command { span: self.token_span(), verb: Verb::Add, target });
                self.include(&mut |parser| parser.commands(commands)).map(|target| (Verb::Add, target))
            }
            "define" | "redefine" | "undefine" => self.definition().map(|target| (Verb::Add, target)),
            _ => self.verb_and_target(),
        };
        let (verb, target) = match result {
            Ok(command) => command,
            Err(_) => {
                self.scratch.truncate(scratch);
                let text = self.invalid(start, braces).text;
                (Verb::Show, Target::Other { text, invalid: true })
            }
        };
        let command = Command { span: self.span_from(start), verb, target };
        match commands.get_mut(place) {
            Some(include) => *include = command,
            None => commands.push(command),
        }
    }

    fn verb_and_target(&mut self) -> Parsed<(Verb, Target)> {
        let start = self.token.start;
        let word = self.word();
        let verb = match word {
            "add" => Verb::Add,
            "create" => Verb::Create,
            "insert" => Verb::Insert,
            "replace" => Verb::Replace,
            "delete" => Verb::Delete,
            "destroy" => Verb::Destroy,
            "flush" => Verb::Flush,
            "rename" => Verb::Rename,
            "reset" | "list" | "get" | "describe" | "monitor" | "export" | "import" => {
                let braces = self.braces;
                self.skip_to_end(braces);
                let text = self.opaque(start).text;
                let verb = if word == "reset" { Verb::Reset } else { Verb::Show };
                return Ok((verb, Target::Other { text, invalid: false }));
            }
            _ => {
                let target = self.target(Verb::Add, true)?;
                self.expect_end()?;
                return Ok((Verb::Add, target));
            }
        };
        self.bump();
        let target = match verb {
            Verb::Rename => self.rename()?,
            Verb::Delete | Verb::Destroy | Verb::Flush => self.removed(verb)?,
            _ => self.target(verb, false)?,
        };
        self.expect_end()?;
        Ok((verb, target))
    }

    fn family(&mut self) -> Option<Family> {
        let family = family(self.word())?;
        self.bump();
        Some(family)
    }

    /// `[family] table`.
    fn table_ref(&mut self) -> Parsed<TableRef> {
        let family = self.family().unwrap_or(Family::Ip);
        Ok(TableRef { family, name: self.name("the name of a table")? })
    }

    /// What `add`, `create`, `insert` and `replace` act on. `bare` when no verb was written.
    fn target(&mut self, verb: Verb, bare: bool) -> Parsed<Target> {
        let start = self.token.start;
        match self.word() {
            "table" => {
                self.bump();
                let id = self.table_ref()?;
                let mut table = empty_table(self.span_from(start), id);
                if self.at(Kind::LBrace) {
                    // A block without an end was reported; what was read of it is kept.
                    let _ = self.table_block(&mut table);
                }
                Ok(Target::Table(Box::new(table)))
            }
            "rule" => {
                self.bump();
                self.rule_target(verb)
            }
            "element" => {
                self.bump();
                let table = self.table_ref()?;
                let set = self.name("the name of a set")?;
                Ok(Target::Elements { table, set, elements: self.elements_or_variable()? })
            }
            word => match self.item_kind() {
                Some(kind) => {
                    self.bump_item_kind(kind);
                    let table = self.table_ref()?;
                    if self.at(Kind::LBrace) {
                        let message = format!("`{word} {}` stands outside of a table", table.name.text);
                        return self.fail(
                            Diagnostic::error("outside-table", message)
                                .at(table.name.span, "the name of a table should stand here")
                                .help("put it into a `table` block, or check that no `}` above closes the table too early"),
                        );
                    }
                    let name = self.name("a name")?;
                    Ok(Target::Item { table, item: self.item(kind, start, name)? })
                }
                // `add inet filter input accept`: `rule` may be left out.
                None if family(word).is_some() || (!word.is_empty() && !self.near_command(word)) => {
                    self.rule_target(verb)
                }
                None if bare => self.unknown_word("a command", COMMANDS),
                None => self.unknown_word("something that can be added", ITEMS),
            },
        }
    }

    /// Whether a word looks like a command with a mistake in it rather than the name of a table.
    fn near_command(&self, word: &str) -> bool {
        self.context.nearest(word, COMMANDS.iter().copied()).is_some()
            || !matches!(self.peek_second().0, Kind::Word | Kind::Quoted)
    }

    /// `[family] table chain [position] statements`.
    fn rule_target(&mut self, verb: Verb) -> Parsed<Target> {
        let table = self.table_ref()?;
        let chain = self.name("the name of a chain")?;
        let position = self.position()?;
        if verb == Verb::Replace && !matches!(position, Some(Position::Handle(_))) {
            return self.expected("`handle` and a number");
        }
        let rule = Some(self.rule());
        Ok(Target::Rule(Box::new(RuleCommand { table, chain, position, rule })))
    }

    fn position(&mut self) -> Parsed<Option<Position>> {
        let word = self.word();
        if !matches!(word, "handle" | "position" | "index") {
            return Ok(None);
        }
        self.bump();
        let number = self.number("a number")?;
        Ok(Some(if word == "index" { Position::Index(number) } else { Position::Handle(number) }))
    }

    /// `handle N` in the place of a name.
    fn handle(&mut self) -> Parsed<Option<u64>> {
        if self.eat_word("handle") { self.number("a number").map(Some) } else { Ok(None) }
    }

    /// A name, or nothing but `handle N`.
    fn name_or_handle(&mut self, what: &str) -> Parsed<(Name, Option<u64>)> {
        let span = self.token_span();
        match self.handle()? {
            Some(handle) => Ok((Name { text: "".into(), span }, Some(handle))),
            None => Ok((self.name(what)?, None)),
        }
    }

    /// What `delete`, `destroy` and `flush` act on.
    fn removed(&mut self, verb: Verb) -> Parsed<Target> {
        let start = self.token.start;
        match self.word() {
            "ruleset" if verb == Verb::Flush => {
                self.bump();
                Ok(Target::Ruleset(self.family()))
            }
            "table" => {
                self.bump();
                let family = self.family().unwrap_or(Family::Ip);
                let (name, handle) = self.name_or_handle("the name of a table")?;
                let mut table = empty_table(self.span_from(start), TableRef { family, name });
                table.handle = handle;
                Ok(Target::Table(Box::new(table)))
            }
            "rule" if verb != Verb::Flush => {
                self.bump();
                let table = self.table_ref()?;
                let chain = self.name("the name of a chain")?;
                let position = self.position()?;
                if position.is_none() {
                    return self.expected("`handle` and a number");
                }
                Ok(Target::Rule(Box::new(RuleCommand { table, chain, position, rule: None })))
            }
            "element" if verb != Verb::Flush => {
                self.bump();
                let table = self.table_ref()?;
                let set = self.name("the name of a set")?;
                Ok(Target::Elements { table, set, elements: self.elements_or_variable()? })
            }
            _ => match self.item_kind() {
                Some(kind) => {
                    self.bump_item_kind(kind);
                    let table = self.table_ref()?;
                    let (name, handle) = self.name_or_handle("a name")?;
                    // `delete chain … { devices = … }` takes devices away; nothing else is in such a block.
                    let mut item = match kind {
                        ItemKind::Object(_) => self.removed_object(kind, start, name)?,
                        _ => self.item(kind, start, name)?,
                    };
                    set_handle(&mut item, handle);
                    Ok(Target::Item { table, item })
                }
                None => self.unknown_word("something that can be removed", ITEMS),
            },
        }
    }

    fn removed_object(&mut self, kind: ItemKind, start: u32, name: Name) -> Parsed<Item> {
        if self.at_end() { self.item(kind, start, name) } else { self.expected("a line end or `;`") }
    }

    fn rename(&mut self) -> Parsed<Target> {
        self.expect_word("chain")?;
        let table = self.table_ref()?;
        let from = self.name("the name of a chain")?;
        if self.at_end() {
            return self.fail(
                Diagnostic::error("syntax", "`rename chain` needs a new name")
                    .at(from.span, "the present name")
                    .help("write the new name after it"),
            );
        }
        Ok(Target::RenameChain { table, from, to: self.name("the new name of the chain")? })
    }
}

fn set_handle(item: &mut Item, handle: Option<u64>) {
    if handle.is_none() {
        return;
    }
    match item {
        Item::Chain(chain) => chain.handle = handle,
        Item::Set(set) => set.handle = handle,
        Item::Flowtable(flowtable) => flowtable.handle = handle,
        Item::Object(object) => object.handle = handle,
        Item::Invalid(_) => {}
    }
}

/// A family by name.
pub(in super::super) fn family(word: &str) -> Option<Family> {
    Some(match word {
        "ip" => Family::Ip,
        "ip6" => Family::Ip6,
        "inet" => Family::Inet,
        "arp" => Family::Arp,
        "bridge" => Family::Bridge,
        "netdev" => Family::Netdev,
        _ => return None,
    })
}

/// A table without content.
pub(in super::super) fn empty_table(span: firewarden_diagnostic::Span, id: TableRef) -> Table {
    Table { span, id, handle: None, dormant: false, flags: Vec::new(), comment: None, items: Vec::new() }
}
