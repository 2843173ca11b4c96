//! Named objects: counters, quotas, limits, conntrack helpers and the like.

use super::super::ast::*;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};

impl<'p> Parser<'_, '_, 'p> {
    /// What follows the name of an object: a block, settings on the same line, or nothing.
    pub(super) fn object(&mut self, kind: ObjectKind, start: u32, name: Name) -> Parsed<Object> {
        let mut object = Object {
            span: self.span_from(start),
            name,
            handle: None,
            kind,
            comment: None,
            body: ObjectBody::Empty,
        };
        if self.at(Kind::LBrace) {
            let object = &mut object;
            // A line that can't be read is only reported: no object decides about a packet by itself.
            self.block(&mut |parser| parser.object_line(object), &mut |_| ())?;
        } else if !self.at_end() {
            while !self.at_end() {
                self.object_line(&mut object)?;
            }
        }
        object.handle = self.lexer.take_handle(start);
        object.span = self.span_from(start);
        Ok(object)
    }

    /// One setting. Several may stand on one line.
    fn object_line(&mut self, object: &mut Object) -> Parsed<()> {
        if self.eat_word("comment") {
            object.comment = Some(self.string("a comment")?);
            return Ok(());
        }
        match object.kind {
            ObjectKind::Counter => {
                if !matches!(self.word(), "packets" | "bytes") {
                    return self.unknown_word("a setting of a counter", &["packets", "bytes", "comment"]);
                }
                object.body = ObjectBody::Counter(self.counter_values()?);
            }
            ObjectKind::Quota => object.body = ObjectBody::Quota(self.quota_values()?),
            ObjectKind::Limit => {
                self.expect_word("rate")?;
                object.body = ObjectBody::Limit(self.limit_rate()?);
            }
            ObjectKind::Synproxy => {
                let mut options = match object.body {
                    ObjectBody::Synproxy(options) => options,
                    _ => Synproxy::default(),
                };
                if !self.synproxy_option(&mut options)? {
                    return self.unknown_word(
                        "a setting of a synproxy",
                        &["mss", "wscale", "timestamp", "sack-perm"],
                    );
                }
                object.body = ObjectBody::Synproxy(options);
            }
            ObjectKind::Secmark => {
                let context = self.string("a security context")?.text;
                add_setting(&mut object.body, "context".into(), context);
            }
            ObjectKind::CtHelper | ObjectKind::CtTimeout | ObjectKind::CtExpectation | ObjectKind::Tunnel => {
                let known: &[&'static str] = match object.kind {
                    ObjectKind::CtHelper => &["type", "protocol", "l3proto"],
                    ObjectKind::CtTimeout => &["protocol", "l3proto", "policy"],
                    ObjectKind::CtExpectation => &["protocol", "dport", "timeout", "size", "l3proto"],
                    _ => &["id", "ip", "ip6", "sport", "dport", "ttl", "tos", "erspan", "vxlan", "geneve"],
                };
                let mut key = self.expect_one_of("a setting of this object", known)?.to_owned();
                if object.kind == ObjectKind::Tunnel && matches!(key.as_str(), "ip" | "ip6") {
                    key.push(' ');
                    key.push_str(self.expect_one_of("`saddr` or `daddr`", &["saddr", "daddr"])?);
                }
                let value = self.setting()?;
                add_setting(&mut object.body, key.into(), value);
            }
        }
        Ok(())
    }

    /// The value of a setting, as text: a word, a number, or a block in braces.
    fn setting(&mut self) -> Parsed<Box<str>> {
        self.eat(Kind::Assign);
        match self.token.kind {
            Kind::LBrace => {
                let start = self.token.start;
                let outside = self.braces;
                self.bump();
                while self.braces > outside && !self.at(Kind::Eof) {
                    self.bump();
                }
                Ok(self.opaque(start).text)
            }
            Kind::Number | Kind::Time | Kind::Ipv4 | Kind::Ipv6 => {
                let text = self.token_text().into();
                self.bump();
                Ok(text)
            }
            _ => self.string("a value").map(|name| name.text),
        }
    }
}

fn add_setting(body: &mut ObjectBody, key: Box<str>, value: Box<str>) {
    match body {
        ObjectBody::Settings(settings) => settings.push((key, value)),
        _ => *body = ObjectBody::Settings(vec![(key, value)]),
    }
}
