//! Which rules a packet meets: `meta nftrace` and the events it causes (linux/netfilter/nf_tables.h).

use std::collections::BTreeMap;
use std::io;

use crate::harness::{self, TABLE};
use crate::model::{Error, StepVerdict, TraceStep};
use crate::sys::{DATAGRAMS, Datagrams};
use firewarden_netlink::{
    ACK, Attributes, DUMP, Message, Messages, REQUEST, Request, Socket, be32, be64, text,
};

/// Bit of `NFNLGRP_NFTRACE`, group 9.
const TRACE_GROUP: u32 = 1 << 8;
const TABLES: u8 = 10;
const NEW_RULE: u8 = 6;
const GET_RULE: u8 = 7;
const TRACE: u8 = 17;

/// Family, table and chain.
type Chain = (u8, Vec<u8>, Vec<u8>);

/// Receives the steps of packets while the harness switches tracing on.
pub struct Tracer {
    socket: Socket,
    datagrams: Datagrams,
    /// Handles of each chain in the order of its rules.
    rules: BTreeMap<Chain, Vec<u64>>,
}

impl Tracer {
    /// Switches tracing on for all packets that the worker sends.
    pub fn start(control: &mut Socket) -> Result<Self, Error> {
        let lost = |e: io::Error| Error::Lost(e.to_string());
        let rules = rules(control).map_err(lost)?;
        let socket = Socket::open(TRACE_GROUP).map_err(lost)?;
        switch(&format!("add rule inet {TABLE} tracing meta nftrace set 1"))?;
        Ok(Self { socket, datagrams: Datagrams::new(), rules })
    }

    /// Switches tracing off.
    pub fn stop(self) -> Result<(), Error> {
        switch(&format!("flush chain inet {TABLE} tracing"))
    }

    /// The steps since the last call, without those of the harness.
    pub fn steps(&mut self) -> Result<Vec<TraceStep>, Error> {
        let mut steps = Vec::new();
        loop {
            let count =
                self.datagrams.receive(self.socket.descriptor()).map_err(|e| Error::Lost(e.to_string()))?;
            let events = self.datagrams.iter().flat_map(Messages);
            steps.extend(events.filter_map(|message| step(&message, &self.rules)));
            if count < DATAGRAMS {
                return Ok(steps);
            }
        }
    }
}

fn switch(command: &str) -> Result<(), Error> {
    harness::run("nft", &["-f", "-"], command)
        .map(drop)
        .map_err(|e| Error::Unsupported(format!("tracing cannot be switched: {e}")))
}

/// The handles of all rules of the namespace.
fn rules(control: &mut Socket) -> io::Result<BTreeMap<Chain, Vec<u64>>> {
    let mut request = Request::default();
    let sequence = control.next_sequence();
    request.begin(TABLES, GET_RULE, REQUEST | ACK | DUMP, 0, 0, sequence);
    request.end();
    let mut rules = BTreeMap::<Chain, Vec<u64>>::new();
    control.call(&request, sequence, |message| {
        let (mut table, mut chain, mut handle) = (Vec::new(), Vec::new(), None);
        for (kind, value) in message.attributes() {
            match kind {
                1 => table = text(value).to_vec(),
                2 => chain = text(value).to_vec(),
                3 => handle = be64(value),
                _ => {}
            }
        }
        if message.kind == u16::from(TABLES) << 8 | u16::from(NEW_RULE) {
            rules.entry((message.family(), table, chain)).or_default().extend(handle);
        }
    })?;
    Ok(rules)
}

/// Reads an event; `None` for the harness and for other messages.
fn step(message: &Message<'_>, rules: &BTreeMap<Chain, Vec<u64>>) -> Option<TraceStep> {
    if message.kind != u16::from(TABLES) << 8 | u16::from(TRACE) {
        return None;
    }
    let (mut table, mut chain, mut handle) = (Vec::new(), Vec::new(), None);
    let (mut code, mut target, mut policy) = (None, String::new(), None);
    for (kind, value) in message.attributes() {
        match kind {
            1 => table = text(value).to_vec(),
            2 => chain = text(value).to_vec(),
            3 => handle = be64(value),
            5 => {
                for (kind, value) in Attributes(value) {
                    match kind {
                        1 => code = be32(value),
                        2 => target = String::from_utf8_lossy(text(value)).into_owned(),
                        _ => {}
                    }
                }
            }
            16 => policy = be32(value),
            _ => {}
        }
    }
    if table == TABLE.as_bytes() {
        return None;
    }
    let verdict = match (policy.or(code)? as i32, target) {
        (0, _) => StepVerdict::Drop,
        (1, _) => StepVerdict::Accept,
        // At a chain's end the event names no rule.
        (-1, _) if handle.is_none() => StepVerdict::Return,
        (-1, _) => StepVerdict::Continue,
        (-3, target) => StepVerdict::Jump(target),
        (-4, target) => StepVerdict::Goto(target),
        (-5, _) => StepVerdict::Return,
        (other, _) => StepVerdict::Other(other),
    };
    let family = message.family();
    let key = (family, table, chain);
    let rule = handle.filter(|_| policy.is_none()).map(|handle| {
        let position = rules.get(&key).and_then(|handles| handles.iter().position(|h| *h == handle));
        (position.map_or(u32::MAX, |position| position as u32), handle)
    });
    let (_, table, chain) = key;
    let name = match family {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    };
    let readable = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(TraceStep { family: name.into(), table: readable(table), chain: readable(chain), rule, verdict })
}
