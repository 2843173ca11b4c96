//! The stack file from YAML.

use super::model::{
    Assumption, DeclaredIntent, Exception, Group, Host, Interface, InterfaceAddress, NamedService, StackFile,
};
use crate::address::{number, parse_address, parse_with_length, shorten};
use crate::intent::{Expectation, Peer, RESERVED, Service, is_name, parse_intent, parse_peer, parse_service};
use crate::located::{Located, Place};
use crate::yaml::{self, Data, Fields, Kind, Node, Scalar, Values};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) const STACK_KEYS: [&str; 7] =
    ["hosts", "groups", "services", "intents", "assume", "tracked", "audit"];
pub(super) const AUDIT_KEYS: [&str; 1] = ["ignore"];
pub(super) const EXCEPTION_KEYS: [&str; 6] = ["id", "where", "host", "reason", "owner", "expires"];
pub(super) const HOST_KEYS: [&str; 6] =
    ["rules", "snapshot", "address", "interfaces", "published", "tcp_loose"];
pub(super) const INTERFACE_KEYS: [&str; 2] = ["address", "uplink"];
pub(super) const INTENT_KEYS: [&str; 12] = [
    "allow", "deny", "only", "name", "owner", "because", "via", "except", "in", "probe", "assume", "proposed",
];
pub(super) const ASSUMPTION_KEYS: [&str; 5] = ["atom", "is", "host", "owner", "expires"];

/// The kind of file.
const STACK: Kind = Kind {
    name: "the stack file",
    syntax: "stack-syntax",
    mismatch: "stack-type",
    unknown_key: "stack-unknown-key",
    missing_key: "stack-missing-key",
};

/// Reads a stack file. What is wrong is in the diagnostics and left out of the result; a file that isn't YAML gives
/// an empty stack and one error. Linear in the text but for name lookups.
pub fn read_stack(file: FileId, text: &str) -> (StackFile, Vec<Diagnostic>) {
    let root = match yaml::parse(STACK, file, text) {
        Ok(root) => root,
        Err(diagnostic) => return (StackFile::default(), vec![*diagnostic]),
    };
    let mut values = Values::new(STACK);
    if matches!(root.data, Data::Null) {
        values.report(
            Diagnostic::error("stack-empty", "the stack file is empty")
                .at(Span::new(file, 0, 0), "")
                .help("declare at least one host and one intent"),
        );
        return (StackFile::default(), values.finish());
    }
    let mut reader = Reader { values, stack: StackFile::default(), names: BTreeMap::new() };
    if let Some(fields) = reader.values.fields(&root, "the stack file", &STACK_KEYS) {
        reader.stack(&fields);
    }
    (reader.stack, reader.values.finish())
}

struct Reader {
    values: Values,
    stack: StackFile,
    /// Hosts and groups with the place of their declaration.
    names: BTreeMap<String, Span>,
}

impl Reader {
    fn stack(&mut self, fields: &Fields<'_>) {
        if let Some(node) = fields.get("hosts") {
            for (name, host) in self.values.entries(node, "`hosts`", "a map from names to hosts") {
                if self.declare(name, "host") {
                    let host = self.host(name, host);
                    self.stack.hosts.push(host);
                }
            }
        }
        if let Some(node) = fields.get("groups") {
            for (name, members) in self.values.entries(node, "`groups`", "a map from names to members") {
                if self.declare(name, "group") {
                    let members = self.peers(members, &format!("group `{}`", shorten(&name.text)), false);
                    self.stack.groups.push(Group { name: located(name), members });
                }
            }
        }
        if let Some(node) = fields.get("services") {
            for (name, services) in self.values.entries(node, "`services`", "a map from names to services") {
                self.service(name, services);
            }
        }
        if let Some(node) = fields.get("assume") {
            self.stack.assumptions = self.assumptions(node);
        }
        if let Some(node) = fields.get("tracked") {
            self.stack.tracked =
                self.values.scalars(node, "`tracked`", "a list of files").into_iter().map(located).collect();
        }
        if let Some(node) = fields.get("audit") {
            self.stack.exceptions = self.exceptions(node);
        }
        if let Some(node) = fields.get("intents") {
            let items = self.values.list(node, "`intents`", "a list of intents");
            self.stack.intents.reserve_exact(items.len());
            for item in items {
                if let Some(intent) = self.intent(item) {
                    self.stack.intents.push(intent);
                }
            }
        }
    }

    /// Takes a name for a host or a group; false where it can't be one.
    fn declare(&mut self, name: &Scalar, what: &str) -> bool {
        if !self.valid_name(name, what) {
            return false;
        }
        if let Some(&first) = self.names.get(&name.text) {
            self.values.report(
                Diagnostic::error("stack-name", format!("`{}` is declared twice", shorten(&name.text)))
                    .at(name.span, "")
                    .see(first, "first declared here")
                    .help("hosts and groups share their names: rename one of the two"),
            );
            return false;
        }
        self.names.insert(name.text.clone(), name.span);
        true
    }

    fn valid_name(&mut self, name: &Scalar, what: &str) -> bool {
        let text = name.text.as_str();
        let error = if RESERVED.contains(&text) {
            format!("`{text}` has a meaning of its own in intents, and can't be the name of a {what}")
        } else if !is_name(text) {
            format!("`{}` can't be the name of a {what}", shorten(text))
        } else {
            return true;
        };
        self.values.report(
            Diagnostic::error("stack-name", error)
                .at(name.span, "")
                .help("use letters, digits, `_`, `.` and `-`, and nothing that looks like an address"),
        );
        false
    }

    fn host(&mut self, name: &Scalar, node: &Node) -> Host {
        let mut host = Host {
            name: located(name),
            rules: Vec::new(),
            snapshot: None,
            addresses: Vec::new(),
            interfaces: Vec::new(),
            published: Vec::new(),
            tcp_loose: true,
        };
        let said_before = self.values.reported();
        let Some(fields) = self.values.fields(node, "a host", &HOST_KEYS) else { return host };
        if let Some(node) = fields.get("rules") {
            host.rules = self
                .values
                .scalars(node, "`rules`", "a file or a list of files")
                .into_iter()
                .map(located)
                .collect();
        }
        host.snapshot = fields
            .get("snapshot")
            .and_then(|node| self.values.scalar(node, "`snapshot`", "a folder"))
            .map(located);
        if let Some(node) = fields.get("address") {
            host.addresses = self.addresses(node, "`address`");
        }
        if let Some(node) = fields.get("published") {
            host.published = self.addresses(node, "`published`");
        }
        host.tcp_loose = self.values.truth(&fields, "tcp_loose").unwrap_or(true);
        if let Some(node) = fields.get("interfaces") {
            for (name, node) in
                self.values.entries(node, "`interfaces`", "a map from interface names to addresses")
            {
                if let Some(interface) = self.interface(name, node) {
                    host.interfaces.push(interface);
                }
            }
        }
        for interface in &host.interfaces {
            for at in &interface.addresses {
                if host.addresses.iter().all(|known| known.value != at.value.address) {
                    host.addresses.push(Located::new(at.value.address, at.span));
                }
            }
        }
        if host.addresses.is_empty() && host.snapshot.is_none() && self.values.reported() == said_before {
            self.values.report(
                Diagnostic::error(
                    "stack-host-address",
                    format!("host `{}` has no address", shorten(&name.text)),
                )
                .at(name.span, "")
                .help("give it an `address`, `interfaces` with addresses, or a `snapshot`"),
            );
        }
        host
    }

    fn interface(&mut self, name: &Scalar, node: &Node) -> Option<Interface> {
        if name.text.is_empty() || name.text.len() > 15 {
            self.values.report(
                Diagnostic::error(
                    "stack-name",
                    format!("`{}` can't be the name of an interface", shorten(&name.text)),
                )
                .at(name.span, "")
                .help("names of interfaces have 1 to 15 bytes"),
            );
            return None;
        }
        let mut interface = Interface { name: located(name), addresses: Vec::new(), uplink: false };
        let addresses = match &node.data {
            Data::Map(_) => {
                let fields = self.values.fields(node, "an interface", &INTERFACE_KEYS)?;
                interface.uplink = self.values.truth(&fields, "uplink").unwrap_or(false);
                fields.get("address")
            }
            Data::Null => None,
            _ => Some(node),
        };
        if let Some(node) = addresses {
            for scalar in self.values.scalars(node, "an interface's address", "an address or a list of them")
            {
                match parse_with_length(&scalar.text) {
                    Ok((address, length)) => {
                        let prefix_length = length.unwrap_or(number(address).0.width());
                        let value = InterfaceAddress { address, prefix_length };
                        interface.addresses.push(Located::new(value, scalar.span));
                    }
                    Err(error) => self.values.report(
                        Diagnostic::error("stack-address", error.message)
                            .at(scalar.span, "")
                            .help(error.help),
                    ),
                }
            }
        }
        Some(interface)
    }

    fn addresses(&mut self, node: &Node, what: &str) -> Vec<Located<IpAddr>> {
        let mut addresses: Vec<Located<IpAddr>> = Vec::new();
        for scalar in self.values.scalars(node, what, "an address or a list of addresses") {
            match parse_address(&scalar.text) {
                Ok(address) => {
                    if addresses.iter().all(|known| known.value != address) {
                        addresses.push(Located::new(address, scalar.span));
                    }
                }
                Err(error) => {
                    let help = if scalar.text.contains('/') {
                        "a host has single addresses; prefix lengths belong to `interfaces`, networks to `groups`"
                            .to_owned()
                    } else {
                        error.help
                    };
                    self.values.report(
                        Diagnostic::error("stack-address", error.message).at(scalar.span, "").help(help),
                    );
                }
            }
        }
        addresses
    }

    fn peers(&mut self, node: &Node, what: &str, carved_out: bool) -> Vec<Located<Peer>> {
        let mut peers = Vec::new();
        for scalar in self.values.scalars(node, what, "a list of hosts, groups and addresses") {
            for (word, span) in words(scalar) {
                match parse_peer(word, carved_out) {
                    Ok(peer) => peers.push(Located::new(peer, span)),
                    Err(error) => self
                        .values
                        .report(Diagnostic::error("stack-peer", error.message).at(span, "").help(error.help)),
                }
            }
        }
        peers
    }

    fn service(&mut self, name: &Scalar, node: &Node) {
        if !self.valid_name(name, "service") {
            return;
        }
        if parse_service(&name.text, "").is_ok_and(|service| !matches!(service, Service::Named(_))) {
            self.values.report(
                Diagnostic::error(
                    "stack-name",
                    format!("`{}` already means a protocol", shorten(&name.text)),
                )
                .at(name.span, "")
                .help("choose another name for the service"),
            );
            return;
        }
        let mut services = Vec::new();
        let what = format!("service `{}`", shorten(&name.text));
        for scalar in self.values.scalars(node, &what, "a list such as `[tcp/80, tcp/443]`") {
            let mut protocol = "";
            for (word, span) in words(scalar) {
                if word.contains('/') {
                    protocol = word.split('/').next().unwrap_or_default();
                }
                match parse_service(word, protocol) {
                    Ok(Service::Named(_)) => self.values.report(
                        Diagnostic::error("stack-service", format!("`{}` is not a protocol", shorten(word)))
                            .at(span, "")
                            .help("services are declared with protocols and ports, such as `tcp/443`"),
                    ),
                    Ok(service) => services.push(Located::new(service, span)),
                    Err(error) => self.values.report(
                        Diagnostic::error("stack-service", error.message).at(span, "").help(error.help),
                    ),
                }
            }
        }
        self.stack.services.push(NamedService { name: located(name), services });
    }

    fn assumptions(&mut self, node: &Node) -> Vec<Assumption> {
        let mut assumptions = Vec::new();
        for item in self.values.list(node, "`assume`", "a list of assumptions") {
            let Some(fields) = self.values.fields(item, "an assumption", &ASSUMPTION_KEYS) else { continue };
            let atom = self.values.text(&fields, "atom");
            let holds = self.values.truth(&fields, "is");
            let owner = self.values.text(&fields, "owner");
            let expires = self.values.text(&fields, "expires");
            let host = self.values.text(&fields, "host");
            for (key, missing) in
                [("atom", atom.is_none()), ("is", holds.is_none()), ("owner", owner.is_none())]
            {
                if missing && fields.get(key).is_none() {
                    self.values.missing(item.span, "an assumption", key, "write it as `{ atom: limit rate 5/second, is: true, owner: web-team, expires: 2027-03-31 }`");
                }
            }
            if let Some(date) = &expires
                && !is_date(&date.value)
            {
                self.values.report(
                    Diagnostic::error("stack-date", format!("`{}` is not a date", shorten(&date.value)))
                        .at(date.span, "")
                        .help("write it as year, month and day: `2027-03-31`"),
                );
                continue;
            }
            if let (Some(atom), Some(holds), Some(owner)) = (atom, holds, owner) {
                assumptions.push(Assumption { atom, holds, host, owner, expires });
            }
        }
        assumptions
    }

    fn exceptions(&mut self, node: &Node) -> Vec<Exception> {
        let mut exceptions = Vec::new();
        let Some(fields) = self.values.fields(node, "`audit`", &AUDIT_KEYS) else { return exceptions };
        let Some(list) = fields.get("ignore") else { return exceptions };
        for item in self.values.list(list, "`ignore`", "a list of exceptions") {
            let Some(fields) = self.values.fields(item, "an exception", &EXCEPTION_KEYS) else { continue };
            let id = self.values.text(&fields, "id");
            let reason = self.values.text(&fields, "reason").filter(|reason| !reason.value.trim().is_empty());
            for (key, missing) in [("id", id.is_none()), ("reason", reason.is_none())] {
                if missing {
                    self.values.missing(item.span, "an exception", key, "write it as `{ id: open-management, where: tcp dport 22, reason: bastion, expires: 2027-03-31 }`");
                }
            }
            let expires = self.values.text(&fields, "expires");
            if let Some(date) = expires.as_ref().filter(|date| !is_date(&date.value)) {
                self.values.report(
                    Diagnostic::error("stack-date", format!("`{}` is not a date", shorten(&date.value)))
                        .at(date.span, "")
                        .help("write it as year, month and day: `2027-03-31`"),
                );
                continue;
            }
            if let (Some(id), Some(reason)) = (id, reason) {
                exceptions.push(Exception {
                    id,
                    place: self.values.text(&fields, "where"),
                    host: self.values.text(&fields, "host"),
                    reason,
                    owner: self.values.text(&fields, "owner"),
                    expires,
                    span: item.span,
                });
            }
        }
        exceptions
    }

    fn intent(&mut self, node: &Node) -> Option<DeclaredIntent> {
        // A bare string is an intent that says itself what it expects.
        if let Data::Scalar(scalar) = &node.data {
            return match parse_intent(&scalar.text, place(scalar), None) {
                Ok(intent) => Some(DeclaredIntent::bare(intent)),
                Err(diagnostic) => {
                    self.values.report(*diagnostic);
                    None
                }
            };
        }
        let fields = self.values.fields(node, "an intent", &INTENT_KEYS)?;
        let mut given =
            Expectation::ALL.into_iter().filter(|expectation| fields.get(expectation.word()).is_some());
        let Some(expectation) = given.next() else {
            self.values.report(
                Diagnostic::error("stack-missing-key", "an intent needs `allow`, `deny` or `only`")
                    .at(node.span, "")
                    .help("write it as `allow: lb -> app tcp/8080`"),
            );
            return None;
        };
        if let Some(second) = given.next() {
            self.values.report(
                Diagnostic::error(
                    "stack-intent",
                    format!("an intent can't have both `{}` and `{}`", expectation.word(), second.word()),
                )
                .at(fields.key_span(second.word()), "")
                .see(fields.key_span(expectation.word()), "")
                .help("write two intents"),
            );
            return None;
        }
        let mut intent = None;
        if let Some(node) = fields.get(expectation.word()) {
            let what = format!("`{}`", expectation.word());
            if let Some(scalar) = self.values.scalar(node, &what, "an intent such as `lb -> app tcp/8080`") {
                match parse_intent(&scalar.text, place(scalar), Some(expectation)) {
                    Ok(parsed) => intent = Some(parsed),
                    Err(diagnostic) => self.values.report(*diagnostic),
                }
            }
        }
        // Read the other keys even where the intent itself is wrong, so that one run tells all mistakes.
        let except = fields.get("except").map(|node| self.peers(node, "`except`", true)).unwrap_or_default();
        let via = match fields.get("via") {
            Some(node) => self
                .values
                .scalars(node, "`via`", "a host or a list of hosts")
                .into_iter()
                .map(located)
                .collect(),
            None => Vec::new(),
        };
        let name = self.values.text(&fields, "name");
        let owner = self.values.text(&fields, "owner").map(|text| text.value);
        let because = self.values.text(&fields, "because").map(|text| text.value);
        let input = self.values.text(&fields, "in");
        let probe = self.values.text(&fields, "probe");
        let assumptions = fields.get("assume").map(|node| self.assumptions(node)).unwrap_or_default();
        let proposed = self.values.truth(&fields, "proposed").unwrap_or(false);
        let mut intent = intent?;
        let span = fields.key_span(expectation.word()).to(intent.span);
        intent.source.except.extend(except);
        Some(DeclaredIntent { intent, name, owner, because, via, input, probe, assumptions, proposed, span })
    }
}

fn located(scalar: &Scalar) -> Located<String> {
    Located::new(scalar.text.clone(), scalar.span)
}

fn place(scalar: &Scalar) -> Place {
    Place { span: scalar.span, exact: scalar.exact }
}

/// The words of a scalar between commas, with their places.
fn words(scalar: &Scalar) -> impl Iterator<Item = (&str, Span)> {
    let place = place(scalar);
    let mut start = 0;
    scalar.text.split(',').map(move |part| {
        let word = part.trim();
        let begin = start + (part.len() - part.trim_start().len());
        start += part.len() + 1;
        (word, place.inside(begin, begin + word.len()))
    })
}

/// A day of the calendar as `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-').map(|part| (part.len(), part.parse::<u32>()));
    let (Some((4, Ok(year))), Some((2, Ok(month))), Some((2, Ok(day))), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}
