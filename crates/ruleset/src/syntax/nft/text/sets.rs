//! Set literals and their elements.

use super::super::ast::*;
use super::expressions::Mode;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};

impl<'p> Parser<'_, '_, 'p> {
    /// `{ a, b : c, … }`.
    pub(super) fn set_literal(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        let elements = self.elements()?;
        Ok(Expr { span: self.span_from(start), kind: ExprKind::Set(Box::new(SetLiteral { elements })) })
    }

    /// The elements of a set with their braces. Newlines may stand between all parts.
    pub(super) fn elements(&mut self) -> Parsed<Vec<Element>> {
        self.expect(Kind::LBrace, "`{`")?;
        self.nested(|parser| {
            let mut elements = Vec::new();
            loop {
                parser.skip_newlines();
                if parser.eat(Kind::RBrace) {
                    break;
                }
                elements.push(parser.element()?);
                parser.skip_newlines();
                if !parser.eat(Kind::Comma) && !parser.at(Kind::RBrace) {
                    return parser.expected("`,` or `}`");
                }
            }
            elements.shrink_to_fit();
            Ok(elements)
        })
    }

    /// The elements given to a command or to `elements =`: a set, or a variable that holds one.
    pub(super) fn elements_or_variable(&mut self) -> Parsed<Vec<Element>> {
        if self.at(Kind::Dollar) {
            let key = self.variable()?;
            return Ok(vec![Element { span: key.span, key, data: None, options: None }]);
        }
        self.elements()
    }

    fn element(&mut self) -> Parsed<Element> {
        let start = self.token.start;
        let key = match self.token.kind {
            Kind::LBrace => self.set_literal()?,
            Kind::At => self.set_ref()?,
            Kind::Star => {
                let span = self.token_span();
                self.bump();
                Expr { span, kind: ExprKind::Wildcard }
            }
            _ => self.value_concat()?,
        };
        let mut options = None;
        self.element_options(&mut options)?;
        let mut data = None;
        self.skip_newlines();
        if self.eat(Kind::Colon) {
            self.skip_newlines();
            data = Some(Box::new(self.element_data()?));
            self.element_options(&mut options)?;
        }
        Ok(Element { span: self.span_from(start), key, data, options })
    }

    /// What a key maps to: a verdict or a value.
    fn element_data(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        if let Some(verdict) = self.verdict()? {
            return Ok(Expr { span: self.span_from(start), kind: ExprKind::Verdict(Box::new(verdict)) });
        }
        match self.token.kind {
            Kind::LBrace => self.set_literal(),
            _ => self.value_concat(),
        }
    }

    /// `timeout`, `expires`, `comment`, and statements with state, in any order.
    fn element_options(&mut self, options: &mut Option<Box<ElementOptions>>) -> Parsed<()> {
        while self.token.kind == Kind::Word {
            match self.token_text() {
                "timeout" => {
                    self.bump();
                    let time = if self.eat_word("never") { 0 } else { self.time()? };
                    options.get_or_insert_default().timeout = Some(time);
                }
                "expires" => {
                    self.bump();
                    options.get_or_insert_default().expires = Some(self.time()?);
                }
                "comment" => {
                    self.bump();
                    options.get_or_insert_default().comment = Some(self.string("a comment")?.text);
                }
                _ => match self.stateful()? {
                    Some(statement) => options.get_or_insert_default().statements.push(statement),
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// `{ key options [: data] }` of a set statement or meter, where the key is about the packet. In a meter any
    /// statement may follow.
    pub(super) fn dynamic_element(&mut self, any_statement: bool) -> Parsed<Element> {
        self.expect(Kind::LBrace, "`{`")?;
        self.skip_newlines();
        let start = self.token.start;
        let first = self.basic(Mode::Statement)?;
        let key = self.concat_statement(first)?;
        let mut options = None;
        self.element_options(&mut options)?;
        let mut data = None;
        if self.eat(Kind::Colon) {
            data = Some(Box::new(self.dynamic_data()?));
            self.element_options(&mut options)?;
        }
        while any_statement && !self.at_end() {
            let statement = self.statement()?;
            options.get_or_insert_default().statements.push(statement);
        }
        let element = Element { span: self.span_from(start), key, data, options };
        self.skip_newlines();
        self.expect(Kind::RBrace, "`}`")?;
        Ok(element)
    }

    fn dynamic_data(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        if let Some(verdict) = self.verdict()? {
            return Ok(Expr { span: self.span_from(start), kind: ExprKind::Verdict(Box::new(verdict)) });
        }
        self.statement_expr()
    }
}
