//! The grammar of intents: text to [`Intent`].

use super::protocols::{PROTOCOLS, has_ports, icmp_types, protocol};
use super::{Expectation, Intent, Peer, Peers, Service};
use crate::address::{looks_like_address, parse_range, shorten};
use crate::located::{Located, Place};
use crate::suggest::nearest;
use firewarden_diagnostic::Diagnostic;

/// Peers and services in one intent, at most.
const ITEM_LIMIT: usize = 10_000;

/// What the grammar looks like, for errors that have nothing more particular to say.
const SHAPE: &str =
    "write it like `lb -> app tcp/8080`: a source, `->`, a destination, then services or nothing";

/// Reads an intent. `expectation` is what the key or the option said (`allow:`, `--allow`); where it is `None`, the
/// text must begin with `allow`, `deny` or `only`; where it is given, the text may repeat it, but not contradict it.
///
/// The error points at the word that is wrong. Names are looked up later, by [`super::resolve`]. O(length).
pub fn parse_intent(
    text: &str,
    place: Place,
    expectation: Option<Expectation>,
) -> Result<Intent, Box<Diagnostic>> {
    let tokens = tokenize(text);
    let mut parser = Parser { text, place, tokens: &tokens, at: 0 };
    let expectation = parser.expectation(expectation)?;
    let begin = parser.at;
    let source = parser.peers(Side::Source)?;
    parser.arrow()?;
    let destination = parser.peers(Side::Destination)?;
    let services = parser.services()?;
    if source.include.len() + source.except.len() + destination.include.len() + services.len() > ITEM_LIMIT {
        return Err(Box::new(
            Diagnostic::error("intent-syntax", "the intent names more than 10000 peers and services")
                .at(place.span, "")
                .help("put the addresses into a group with prefixes or ranges"),
        ));
    }
    let text = canonical(text, tokens.get(begin..).unwrap_or_default());
    Ok(Intent { expectation, source, destination, services, text, span: place.span })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Word,
    Comma,
    Arrow,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(8);
    let mut word: Option<usize> = None;
    let mut skip_until = 0;
    let end_word = |word: &mut Option<usize>, end: usize, tokens: &mut Vec<Token>| {
        if let Some(start) = word.take() {
            tokens.push(Token { kind: TokenKind::Word, start, end });
        }
    };
    for (at, letter) in text.char_indices() {
        if at < skip_until {
            continue;
        }
        let symbol = if letter == ',' {
            Some((TokenKind::Comma, 1))
        } else if letter == '-' && text.as_bytes().get(at + 1) == Some(&b'>') {
            Some((TokenKind::Arrow, 2))
        } else {
            None
        };
        if let Some((kind, length)) = symbol {
            end_word(&mut word, at, &mut tokens);
            tokens.push(Token { kind, start: at, end: at + length });
            skip_until = at + length;
        } else if letter.is_whitespace() {
            end_word(&mut word, at, &mut tokens);
        } else if word.is_none() {
            word = Some(at);
        }
    }
    end_word(&mut word, text.len(), &mut tokens);
    tokens
}

/// The text of tokens with single spaces, none before a comma.
fn canonical(text: &str, tokens: &[Token]) -> String {
    let mut out = String::with_capacity(text.len());
    for token in tokens {
        let numeric = |word: &str| word.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        let word = text.get(token.start..token.end).unwrap_or_default();
        let port_list = numeric(word) && out.ends_with(',') && !looks_like_address(word);
        if token.kind != TokenKind::Comma && !out.is_empty() && !port_list {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

struct Parser<'a> {
    text: &'a str,
    place: Place,
    tokens: &'a [Token],
    at: usize,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl<'a> Parser<'a> {
    fn peek(&self, kind: TokenKind) -> Option<Token> {
        self.tokens.get(self.at).copied().filter(|token| token.kind == kind)
    }

    fn word(&self, token: Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn peek_word(&self) -> Option<&'a str> {
        self.peek(TokenKind::Word).map(|token| self.word(token))
    }

    fn take(&mut self, kind: TokenKind) -> Option<Token> {
        let token = self.peek(kind)?;
        self.at += 1;
        Some(token)
    }

    fn error_at(&self, token: Token, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error("intent-syntax", message).at(self.place.inside(token.start, token.end), "")
    }

    /// An error at the next token, or behind the last one.
    fn error_here(&self, message: impl Into<String>) -> Diagnostic {
        match self.tokens.get(self.at) {
            Some(&token) => self.error_at(token, message),
            None => {
                let end = self.text.trim_end().len();
                Diagnostic::error("intent-syntax", message).at(self.place.inside(end, end), "")
            }
        }
    }

    fn expectation(&mut self, given: Option<Expectation>) -> Parsed<Expectation> {
        let written = self
            .peek_word()
            .and_then(|word| Expectation::ALL.into_iter().find(|expectation| expectation.word() == word));
        match (given, written) {
            (Some(given), Some(written)) if given != written => Err(Box::new(
                self.error_here(format!("`{}` contradicts `{}`", written.word(), given.word()))
                    .help("leave the word out, or move the intent to where it belongs"),
            )),
            (given, Some(written)) => {
                self.at += 1;
                Ok(given.unwrap_or(written))
            }
            (Some(given), None) => Ok(given),
            (None, None) => {
                let found = self.peek_word().unwrap_or_default();
                let help = match nearest(found, Expectation::ALL.map(Expectation::word)) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => "begin with `allow`, `deny` or `only`".to_owned(),
                };
                Err(Box::new(self.error_here("the intent does not say what it expects").help(help)))
            }
        }
    }

    fn arrow(&mut self) -> Parsed<()> {
        if self.take(TokenKind::Arrow).is_some() {
            return Ok(());
        }
        let help = match self.peek_word() {
            Some("to" | "→" | "=>" | "-->" | ">" | "-") => {
                "write `->` between source and destination".to_owned()
            }
            _ => SHAPE.to_owned(),
        };
        Err(Box::new(self.error_here("expected `->` after the source").help(help)))
    }

    fn peers(&mut self, side: Side) -> Parsed<Peers> {
        let mut peers = Peers { include: self.peer_list(side, false)?, except: Vec::new() };
        if self.peek_word() == Some("except") {
            self.at += 1;
            peers.except = self.peer_list(side, true)?;
        }
        Ok(peers)
    }

    fn peer_list(&mut self, side: Side, carved_out: bool) -> Parsed<Vec<Located<Peer>>> {
        // Most lists have one entry, and a stack file has thousands of lists.
        let mut list = Vec::with_capacity(1);
        loop {
            let Some(token) = self.take(TokenKind::Word) else {
                let what = match (side, carved_out) {
                    (_, true) => "expected what to carve out after `except`",
                    (Side::Source, _) => "expected a source",
                    (Side::Destination, _) => "expected a destination",
                };
                return Err(Box::new(self.error_here(what).help(SHAPE)));
            };
            let peer = self.peer(token, carved_out)?;
            list.push(Located::new(peer, self.place.inside(token.start, token.end)));
            if self.take(TokenKind::Comma).is_none() {
                return Ok(list);
            }
        }
    }

    fn peer(&self, token: Token, carved_out: bool) -> Parsed<Peer> {
        let word = self.word(token);
        parse_peer(word, carved_out)
            .map_err(|error| Box::new(self.error_at(token, error.message).help(error.help)))
    }

    fn services(&mut self) -> Parsed<Vec<Located<Service>>> {
        let mut services = Vec::with_capacity(1);
        while self.at < self.tokens.len() {
            let Some(token) = self.take(TokenKind::Word) else {
                return Err(Box::new(
                    self.error_here("expected a service").help("write it like `tcp/443`, `udp/53` or `icmp`"),
                ));
            };
            let mut word = self.word(token);
            let mut token = token;
            let protocol_word = word.split('/').next().unwrap_or_default();
            loop {
                let service = parse_service(word, protocol_word)
                    .map_err(|error| Box::new(self.error_at(token, error.message).help(error.help)))?;
                services.push(Located::new(service, self.place.inside(token.start, token.end)));
                // `tcp/80,443`: a number after the comma is a further port of the same protocol.
                let comma = self.peek(TokenKind::Comma);
                let next = self.tokens.get(self.at + 1).filter(|next| next.kind == TokenKind::Word);
                let (Some(_), Some(&next)) = (comma, next) else { break };
                if !self.word(next).starts_with(|letter: char| letter.is_ascii_digit()) {
                    break;
                }
                self.at += 2;
                token = next;
                word = self.word(next);
            }
            if self.take(TokenKind::Comma).is_none() {
                if let Some(extra) = self.tokens.get(self.at) {
                    let shown = shorten(self.word(*extra));
                    return Err(Box::new(
                        self.error_at(*extra, format!("`{shown}` is not expected here"))
                            .help("separate services with commas"),
                    ));
                }
                return Ok(services);
            }
            if self.at == self.tokens.len() {
                return Err(Box::new(
                    self.error_here("expected a service after the comma").help("remove the comma"),
                ));
            }
        }
        Ok(services)
    }
}

/// Why a word isn't a peer or a service.
pub(crate) struct WordError {
    pub message: String,
    pub help: String,
}

/// True for names that hosts, groups and services may have: letters, digits, `_`, `.` and `-`, no address.
pub fn is_name(word: &str) -> bool {
    let letter =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') || byte >= 0x80;
    !word.is_empty() && word.bytes().all(letter) && !word.starts_with(['-', '.']) && !looks_like_address(word)
}

/// Words with a meaning of their own, which can't be names.
pub(crate) const RESERVED: [&str; 6] = ["any", "internet", "except", "allow", "deny", "only"];

/// Reads a word of an intent's source or destination, or of a group. `carved_out` allows sets.
pub(crate) fn parse_peer(word: &str, carved_out: bool) -> Result<Peer, WordError> {
    if let Some(name) = word.strip_prefix('@') {
        if name.is_empty() || !carved_out {
            return Err(WordError {
                message: format!("the set `{}` can't be used here", shorten(word)),
                help:
                    "sets can only be carved out, as in `internet except @banned`; for more, declare a group"
                        .to_owned(),
            });
        }
        return Ok(Peer::Set(name.into()));
    }
    match word {
        "any" => return Ok(Peer::Any),
        "internet" => return Ok(Peer::Internet),
        "except" | "allow" | "deny" | "only" => {
            return Err(WordError {
                message: format!("`{word}` is not expected here"),
                help: SHAPE.to_owned(),
            });
        }
        _ => {}
    }
    if looks_like_address(word) {
        return match parse_range(word) {
            Ok(range) => Ok(Peer::Range(range)),
            Err(error) => Err(WordError { message: error.message, help: error.help }),
        };
    }
    if word.split_once('/').is_some_and(|(name, _)| protocol(name).is_some()) {
        return Err(WordError {
            message: format!("`{}` is a service, not a host", shorten(word)),
            help: "put a space, not a comma, between the destination and its services".to_owned(),
        });
    }
    if !is_name(word) {
        return Err(WordError {
            message: format!("`{}` is neither a name nor an address", shorten(word)),
            help: "write a host, a group, `internet`, `any`, or an address, prefix or range".to_owned(),
        });
    }
    Ok(Peer::Name(word.into()))
}

/// Reads a word of an intent's services. A bare number is a port of `protocol_word`.
pub(crate) fn parse_service(word: &str, protocol_word: &str) -> Result<Service, WordError> {
    if word == "any" {
        return Ok(Service::Any);
    }
    let bare_number = word.starts_with(|letter: char| letter.is_ascii_digit());
    let (name, detail) = match word.split_once('/') {
        Some((name, detail)) => (name, Some(detail)),
        None if bare_number && protocol(protocol_word).is_some() => (protocol_word, Some(word)),
        None => (word, None),
    };
    if bare_number && detail.is_none() {
        return Err(WordError {
            message: format!("the port `{}` has no protocol", shorten(word)),
            help: format!("write `tcp/{0}` or `udp/{0}`", shorten(word)),
        });
    }
    let Some(number) = protocol(name) else {
        if detail.is_none() && is_name(word) {
            return Ok(Service::Named(word.into()));
        }
        return Err(WordError {
            message: format!("`{}` is not a protocol", shorten(name)),
            help: match nearest(name, PROTOCOLS.iter().map(|(known, _)| *known)) {
                Some(known) => format!("did you mean `{known}`?"),
                None => "write it like `tcp/443`, `udp/53`, `icmp/echo-request` or `esp`".to_owned(),
            },
        });
    };
    let Some(detail) = detail else { return Ok(Service::Protocol(number)) };
    if has_ports(number) {
        return parse_ports(name, detail).map(|(low, high)| Service::Ports { protocol: number, low, high });
    }
    if !matches!(number, 1 | 58) {
        return Err(WordError {
            message: format!("`{name}` has no ports"),
            help: format!("write just `{name}`"),
        });
    }
    let types = icmp_types(number);
    let found = types.iter().find(|(known, _)| *known == detail).map(|(_, value)| *value);
    match found.or_else(|| detail.parse().ok()) {
        Some(icmp_type) => Ok(Service::Icmp { protocol: number, icmp_type }),
        None => Err(WordError {
            message: format!("`{}` is not a type of {name}", shorten(detail)),
            help: match nearest(detail, types.iter().map(|(known, _)| *known)) {
                Some(known) => format!("did you mean `{name}/{known}`?"),
                None => format!("write it like `{name}/echo-request` or with the type's number"),
            },
        }),
    }
}

/// A port or a range of ports.
fn parse_ports(name: &str, text: &str) -> Result<(u16, u16), WordError> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        text.parse::<u16>().map_err(|_| WordError {
            message: format!("`{}` is not a port", shorten(text)),
            help: format!(
                "ports are numbers from 0 to 65535; write it like `{name}/443` or `{name}/8000-8010`"
            ),
        })
    };
    let (low, high) = (port(low)?, port(high)?);
    if low > high {
        return Err(WordError {
            message: format!("the range of ports `{text}` ends before it begins"),
            help: format!("did you mean `{name}/{high}-{low}`?"),
        });
    }
    Ok((low, high))
}
