//! Bytes to tokens.
//!
//! nft's own scanner knows hundreds of keywords, many only in certain places. Here a keyword is a [`Kind::Word`] like
//! any other, and the parser decides what it means where it stands. Otherwise the boundaries of tokens are nft's: a
//! word may hold `/`, `-`, `.`; `80:443` is one token before a blank; a comment on a line of its own takes its line
//! end with it.

use std::net::Ipv6Addr;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A letter, `_` or `.`, then letters, digits, `/`, `-`, `_`, `.`.
    Word,
    /// A word with `*` at its end, or with `\*`.
    StarWord,
    /// `"…"`, quotes included.
    Quoted,
    /// A `"` without its partner, up to the end of the line.
    OpenQuote,
    /// Digits, or `0x` and hexadecimal digits.
    Number,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address, possibly in brackets.
    Ipv6,
    /// A hardware address of six bytes.
    Mac,
    /// `1d2h3m4s5ms`.
    Time,
    /// `1:1234`.
    ClassId,
    /// Digits with dots or colons that are no address.
    BadAddress,
    LBrace,
    RBrace,
    LParen,
    RParen,
    LBracket,
    RBracket,
    Semicolon,
    Newline,
    Comma,
    Dot,
    Colon,
    Slash,
    Dash,
    Plus,
    Star,
    At,
    Dollar,
    Assign,
    EqEq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Not,
    ShiftLeft,
    ShiftRight,
    Caret,
    Ampersand,
    Pipe,
    /// `# xt_name`, by which older versions list an iptables extension.
    XtComment,
    /// A character that has no place in nft.
    Junk,
    Eof,
}

/// A token: what and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The address of a [`Kind::Ipv4`]; 0 for all others.
    pub(super) address: u32,
}

/// Turns a text into tokens. Small, so that looking ahead is done on a copy.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    /// Only blanks since the start of the line.
    line_begins: bool,
    /// The last `# handle N` comment: its place and number.
    handle: Option<(u32, u64)>,
    /// Where the first marker of a template language is.
    pub(super) template: Option<u32>,
    /// Where the first line end of Windows is.
    pub(super) carriage_return: Option<u32>,
}

/// Which bytes a word goes on over.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric() || matches!(character, b'_' | b'.' | b'-' | b'/');
        byte += 1;
    }
    table
};

fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

impl<'t> Lexer<'t> {
    /// Begins at the start of a text of at most `u32::MAX` bytes.
    pub(super) fn new(text: &'t str) -> Lexer<'t> {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Lexer {
            text,
            bytes: text.as_bytes(),
            at,
            line_begins: true,
            handle: None,
            template: None,
            carriage_return: None,
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// The text of a token or any other range; empty where the range isn't one.
    pub(super) fn slice(&self, start: u32, end: u32) -> &'t str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The number of the last `# handle N` comment, if it stands after `start`. It is given once.
    pub(super) fn take_handle(&mut self, start: u32) -> Option<u64> {
        match self.handle {
            Some((at, number)) if at >= start => {
                self.handle = None;
                Some(number)
            }
            _ => None,
        }
    }

    /// The first byte after the last token that isn't a blank; 0 at the end.
    pub(super) fn byte_ahead(&self) -> u8 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter().copied().find(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(0)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn run(&self, from: usize, accept: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        from + rest.iter().position(|&byte| !accept(byte)).unwrap_or(rest.len())
    }

    fn line_end(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.bytes.len(), |offset| from + offset)
    }

    /// The next token. Each call takes time in the length of what it passes.
    pub(super) fn next(&mut self) -> Token {
        loop {
            while matches!(self.peek(0), b' ' | b'\t') && self.at < self.bytes.len() {
                self.at += 1;
            }
            let start = self.at;
            let Some(&byte) = self.bytes.get(start) else {
                return self.token(Kind::Eof, start, 0);
            };
            let line_begins = std::mem::take(&mut self.line_begins);
            let next = self.peek(1);
            let (kind, length) = match byte {
                b'\n' => {
                    self.line_begins = true;
                    (Kind::Newline, 1)
                }
                b'\r' if next == b'\n' => {
                    self.carriage_return.get_or_insert(start as u32);
                    self.line_begins = line_begins;
                    self.at += 1;
                    continue;
                }
                b'\\' if next == b'\n' || (next == b'\r' && self.peek(2) == b'\n') => {
                    self.at += if next == b'\n' { 2 } else { 3 };
                    self.line_begins = true;
                    continue;
                }
                b'#' => match self.comment(line_begins) {
                    Some(token) => return token,
                    None => continue,
                },
                b'"' => return self.quoted(start),
                b'0'..=b'9' => return self.number(start),
                b'a'..=b'f' | b'A'..=b'F' => {
                    // An address has a colon after at most four digits.
                    let colon = (1..5).any(|ahead| self.peek(ahead) == b':');
                    let address = if colon { self.address(start) } else { None };
                    return address.unwrap_or_else(|| self.word(start));
                }
                b'g'..=b'z' | b'G'..=b'Z' | b'_' => return self.word(start),
                b'.' if is_word(next) => return self.word(start),
                b'.' => (Kind::Dot, 1),
                b'\\' if next == b'*' => return self.word(start),
                b':' if next == b':' => match self.address(start) {
                    Some(token) => return token,
                    None => (Kind::Colon, 1),
                },
                b':' => (Kind::Colon, 1),
                b'[' => match self.bracketed(start) {
                    Some(token) => return token,
                    None => (Kind::LBracket, 1),
                },
                b'{' => {
                    if matches!(next, b'{' | b'%' | b'#') {
                        self.template.get_or_insert(start as u32);
                    }
                    (Kind::LBrace, 1)
                }
                b'}' => (Kind::RBrace, 1),
                b'(' => (Kind::LParen, 1),
                b')' => (Kind::RParen, 1),
                b']' => (Kind::RBracket, 1),
                b';' => (Kind::Semicolon, 1),
                b',' => (Kind::Comma, 1),
                b'/' => (Kind::Slash, 1),
                b'-' => (Kind::Dash, 1),
                b'+' => (Kind::Plus, 1),
                b'*' => (Kind::Star, 1),
                b'@' => (Kind::At, 1),
                b'$' => {
                    if next == b'{' {
                        self.template.get_or_insert(start as u32);
                    }
                    (Kind::Dollar, 1)
                }
                b'^' => (Kind::Caret, 1),
                b'&' => (Kind::Ampersand, 1),
                b'|' => (Kind::Pipe, 1),
                b'=' if next == b'=' => (Kind::EqEq, 2),
                b'=' => (Kind::Assign, 1),
                b'!' if next == b'=' => (Kind::Ne, 2),
                b'!' => (Kind::Not, 1),
                b'<' if next == b'=' => (Kind::Le, 2),
                b'<' if next == b'<' => (Kind::ShiftLeft, 2),
                b'<' => {
                    if next == b'%' {
                        self.template.get_or_insert(start as u32);
                    }
                    (Kind::Lt, 1)
                }
                b'>' if next == b'=' => (Kind::Ge, 2),
                b'>' if next == b'>' => (Kind::ShiftRight, 2),
                b'>' => (Kind::Gt, 1),
                _ => {
                    let rest = self.text.get(start..).unwrap_or_default();
                    (Kind::Junk, rest.chars().next().map_or(1, char::len_utf8))
                }
            };
            return self.token(kind, start, length);
        }
    }

    fn token(&mut self, kind: Kind, start: usize, length: usize) -> Token {
        self.at = start + length;
        Token { kind, start: start as u32, end: self.at as u32, address: 0 }
    }

    fn until(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.token(kind, start, end.saturating_sub(start))
    }

    /// Passes a comment; gives a token only for `# xt_name`.
    fn comment(&mut self, line_begins: bool) -> Option<Token> {
        let start = self.at;
        let body = self.bytes.get(start + 1..).unwrap_or_default();
        if body.starts_with(b" xt_") {
            // Several may follow one another on a line, so the end of the line isn't looked for yet.
            let name_end = self.run(start + 2, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let rest = self.bytes.get(name_end..).unwrap_or_default();
            let ends = matches!(rest.first(), None | Some(b'\n' | b'\r'));
            let listed = ends || rest.starts_with(b" counter packets") || rest.starts_with(b" # xt_");
            if listed || (!line_begins && rest.starts_with(b" ")) {
                return Some(self.until(Kind::XtComment, start, name_end));
            }
        }
        let end = self.line_end(start);
        let body = self.bytes.get(start + 1..end).unwrap_or_default();
        if let Some(digits) = body.strip_prefix(b" handle ") {
            let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
            if let Some(number) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
                self.handle = Some((start as u32, number));
            }
        }
        self.at = end;
        if line_begins {
            // A comment on a line of its own doesn't end a rule that is continued over it.
            self.at = (end + 1).min(self.bytes.len());
            self.line_begins = true;
        }
        None
    }

    fn quoted(&mut self, start: usize) -> Token {
        let rest = self.bytes.get(start + 1..).unwrap_or_default();
        match memchr::memchr(b'"', rest) {
            Some(length) => {
                let body = rest.get(..length).unwrap_or_default();
                if body.contains(&b'{') && body.windows(2).any(|pair| pair == b"{{") {
                    self.template.get_or_insert(start as u32);
                }
                self.token(Kind::Quoted, start, length + 2)
            }
            None => {
                let end = self.line_end(start);
                self.until(Kind::OpenQuote, start, end)
            }
        }
    }

    fn word(&mut self, start: usize) -> Token {
        let mut end = self.run(start, is_word);
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        let kind = if byte(end) == b'\\' && byte(end + 1) == b'*' {
            end = self.run(end + 2, is_word);
            Kind::StarWord
        } else if byte(end) == b'*' {
            end += 1;
            Kind::StarWord
        } else {
            Kind::Word
        };
        self.until(kind, start, end)
    }

    fn number(&mut self, start: usize) -> Token {
        let digits = self.run(start, |byte| byte.is_ascii_digit());
        match self.bytes.get(digits).copied().unwrap_or(0) {
            b'.' if self.bytes.get(digits + 1).is_some_and(u8::is_ascii_digit) => self.ipv4(start),
            b':' | b'a'..=b'z' | b'A'..=b'F' | b'X' => self.number_or_word(start, digits),
            _ => self.until(Kind::Number, start, digits),
        }
    }

    /// Digits that a letter or a colon follows.
    fn number_or_word(&mut self, start: usize, digits: usize) -> Token {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') && self.peek(2).is_ascii_hexdigit() {
            let end = self.run(start + 2, |byte| byte.is_ascii_hexdigit());
            return self.until(Kind::Number, start, end);
        }
        if let Some(token) = self.address(start) {
            return token;
        }
        match self.bytes.get(digits).copied().unwrap_or(0) {
            b'q' | b'a' if self.slice(start as u32, digits as u32) == "8021" => {
                let end = self.run(start, is_word);
                self.until(Kind::Word, start, end)
            }
            b'd' | b'h' | b'm' | b's' => match self.time(start) {
                Some(end) => self.until(Kind::Time, start, end),
                None => self.until(Kind::Number, start, digits),
            },
            _ => self.until(Kind::Number, start, digits),
        }
    }

    fn ipv4(&mut self, start: usize) -> Token {
        let (address, length) = dotted(self.bytes.get(start..).unwrap_or_default());
        match address {
            Some(address) => Token { address, ..self.token(Kind::Ipv4, start, length) },
            None => self.token(Kind::BadAddress, start, length),
        }
    }

    /// The end of a time that begins at `start`: numbers with `d`, `h`, `m`, `s`, `ms`, each at most once, in order.
    fn time(&self, start: usize) -> Option<usize> {
        let mut at = start;
        for unit in ["d", "h", "m", "s", "ms"] {
            let digits = self.run(at, |byte| byte.is_ascii_digit());
            let rest = self.bytes.get(digits..).unwrap_or_default();
            let fits =
                digits > at && rest.starts_with(unit.as_bytes()) && !(unit == "m" && rest.starts_with(b"ms"));
            if fits {
                at = digits + unit.len();
            }
        }
        (at > start).then_some(at)
    }

    /// An address with colons that begins here, or a class id, or what looks like an address.
    fn address(&mut self, start: usize) -> Option<Token> {
        // The longest address; looking further at each token would make long runs of digits and colons quadratic.
        const LONGEST: usize = 45;
        let window = self.bytes.get(start..self.bytes.len().min(start + LONGEST + 1)).unwrap_or_default();
        let hex =
            |bytes: &[u8]| bytes.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(bytes.len());
        let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        // Most words and numbers end before any colon.
        let group = hex(window);
        if group > 4 || window.get(group) != Some(&b':') {
            return None;
        }
        // No address has more than eight colons, nor three in a row.
        let mut colons = 0;
        let mut in_row = 0;
        let ends = |&byte: &u8| {
            in_row = if byte == b':' { in_row + 1 } else { 0 };
            colons += u32::from(byte == b':');
            !is_part(byte) || in_row > 2 || colons > 9
        };
        let run = window.iter().position(ends).unwrap_or(window.len());
        if window.get(run) == Some(&b'.') {
            let is_dotted = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            let rest = window.get(run..).unwrap_or_default();
            let end = start + run + rest.iter().position(|&byte| !is_dotted(byte)).unwrap_or(rest.len());
            if self.slice(start as u32, end as u32).parse::<Ipv6Addr>().is_ok() {
                return Some(self.until(Kind::Ipv6, start, end));
            }
        }
        let mut end = start + run.min(LONGEST);
        while end > start {
            let text = self.slice(start as u32, end as u32);
            if parse_mac(text).is_some() {
                return Some(self.until(Kind::Mac, start, end));
            }
            if text.parse::<Ipv6Addr>().is_ok() {
                return Some(self.until(Kind::Ipv6, start, end));
            }
            // `fe80::1:accept` and `fe80::1: accept` have more colons than address.
            let bytes = text.as_bytes();
            let shorter = if bytes.last() == Some(&b':') {
                text.len() - 1
            } else {
                memchr::memrchr(b':', bytes).unwrap_or(0)
            };
            end = start + shorter;
        }
        let text = window.get(..run).unwrap_or_default();
        let colons = text.iter().filter(|&&byte| byte == b':').count();
        if colons > 2 || text.windows(2).any(|pair| pair == b"::") {
            let end = self.run(start, is_part);
            return Some(self.until(Kind::BadAddress, start, end));
        }
        let second = window.get(group + 1..).map_or(0, hex);
        let after = window.get(group + 1 + second).copied().unwrap_or(b'\n');
        let ends = matches!(after, b' ' | b'\t' | b'\n' | b'\r' | b':' | b'-' | b'}' | b',' | b';');
        if group > 0 && (1..=4).contains(&second) && ends {
            return Some(self.until(Kind::ClassId, start, start + group + 1 + second));
        }
        None
    }

    fn bracketed(&mut self, start: usize) -> Option<Token> {
        let end = self.run(start + 1, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        if self.bytes.get(end) != Some(&b']') {
            return None;
        }
        let valid = self.slice(start as u32 + 1, end as u32).parse::<Ipv6Addr>().is_ok();
        valid.then(|| self.until(Kind::Ipv6, start, end + 1))
    }
}

/// Four decimal numbers up to 255; leading zeros are read as decimal.
pub(in super::super) fn parse_ipv4(text: &str) -> Option<[u8; 4]> {
    let (address, length) = dotted(text.as_bytes());
    address.filter(|_| length == text.len()).map(u32::to_be_bytes)
}

/// How many bytes from the first on are digits and dots, and the IPv4 address that they are, if they are one.
fn dotted(bytes: &[u8]) -> (Option<u32>, usize) {
    let (mut address, mut part, mut digits, mut dots) = (0_u32, 0_u32, 0_usize, 0_usize);
    let mut valid = true;
    let mut length = bytes.len();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            // Wraps only where there are too many digits for an address anyway.
            b'0'..=b'9' => {
                part = part.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
                digits += 1;
            }
            b'.' => {
                valid &= (1..=3).contains(&digits) && part <= 255;
                address = address << 8 | part & 255;
                (part, digits) = (0, 0);
                dots += 1;
            }
            _ => {
                length = at;
                break;
            }
        }
    }
    valid &= (1..=3).contains(&digits) && part <= 255 && dots == 3;
    (valid.then_some(address << 8 | part & 255), length)
}

/// Six groups of one or two hexadecimal digits.
pub(in super::super) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    if text.len() > 17 || text.len() < 11 {
        return None;
    }
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut address {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 2 || part.starts_with('+') {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}

/// The value of the text of a [`Kind::Number`]: `0x…`, octal with a leading 0 (decimal where that fails), decimal.
/// `None` above `u64::MAX`.
pub(in super::super) fn parse_number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    let octal =
        if text.len() > 1 && text.starts_with('0') { u64::from_str_radix(text, 8).ok() } else { None };
    octal.or_else(|| text.parse().ok())
}

/// The milliseconds of the text of a [`Kind::Time`], or of a number of seconds. `None` above `u64::MAX`.
pub(in super::super) fn parse_time(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = rest.get(digits..)?;
        let (factor, length) = match unit.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b's', ..] => (1000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            [b'd', ..] => (86_400_000, 1),
            [] => (1000, 0),
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = unit.get(length..)?;
    }
    (!text.is_empty()).then_some(total)
}
