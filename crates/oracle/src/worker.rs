//! The worker: one thread or process that owns a namespace and answers requests.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::conntrack::{self, Flow};
use crate::harness::{self, Count, Event, Place};
use crate::model::{Config, Error, Hook, Ruleset, TraceStep};
use crate::namespace::{self, Namespace};
use crate::packet;
use crate::sys::Datagrams;
use crate::trace::Tracer;
use crate::wire::{self, Class, Frame, Outcome, Reply, Request};
use firewarden_netlink::{Messages, Socket};

/// Flows known at one time; well below the smallest default of `nf_conntrack_max`.
const MAX_FLOWS: usize = 4096;
/// How often a batch with lost or late events is tried.
const TRIES: u32 = 3;
/// On kernels that limit ICMP errors over all namespaces (before 6.12): 1,000 a second is what they allow.
const ICMP_PAUSE: Duration = Duration::from_micros(1100);

/// Answers requests until the stream ends.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut worker = Worker { host: None, loaded: None };
    while let Some(message) = wire::receive(&mut input)? {
        let reply = match wire::decode_request(&message) {
            Some(request) => worker.answer(request).unwrap_or_else(Reply::Failed),
            None => Reply::Failed(Error::Stopped("a request could not be read".into())),
        };
        wire::send(&mut output, &wire::encode_reply(&reply))?;
    }
    Ok(())
}

struct Worker {
    host: Option<(u64, u64)>,
    loaded: Option<Loaded>,
}

impl Worker {
    fn answer(&mut self, request: Request) -> Result<Reply, Error> {
        match request {
            Request::Load(config, ruleset) => {
                let host = match self.host {
                    Some(host) => host,
                    None => *self.host.insert(namespace::host_identity()?),
                };
                if !self.loaded.as_ref().is_some_and(|old| old.reusable(&config))
                    && let Some(old) = self.loaded.take()
                {
                    // Closing the devices waits for the kernel some 20 ms each.
                    std::thread::spawn(move || drop(old));
                }
                let loaded = match &mut self.loaded {
                    Some(loaded) => loaded,
                    none => none.insert(Loaded::new(config, host)?),
                };
                loaded.load(ruleset)?;
                Ok(Reply::Done)
            }
            Request::Run(hook, frames) => self.loaded()?.run(hook, &frames).map(Reply::Outcomes),
            Request::Trace(hook, frames) => self.loaded()?.trace(hook, &frames).map(Reply::Steps),
            Request::List(json) => {
                self.loaded()?;
                let arguments: &[&str] = if json { &["-j", "list", "ruleset"] } else { &["list", "ruleset"] };
                harness::run("nft", arguments, "").map(Reply::Text)
            }
        }
    }

    fn loaded(&mut self) -> Result<&mut Loaded, Error> {
        self.loaded
            .as_mut()
            .filter(|loaded| loaded.complete)
            .ok_or_else(|| Error::Question("no ruleset is loaded".into()))
    }
}

/// A namespace with a ruleset and the harness.
struct Loaded {
    config: Config,
    namespace: Namespace,
    events: Socket,
    control: Socket,
    datagrams: Datagrams,
    /// Whether loading ended well, so that packets may be sent.
    complete: bool,
    /// Whether something was loaded that flushing nft's tables does not remove.
    sticky: bool,
}

/// What the events of a batch add up to.
#[derive(Default)]
struct Tally {
    sent: u64,
    seen: u64,
    overrun: bool,
    /// Events of other packets than the one sent last.
    late: u64,
}

impl Loaded {
    fn new(config: Config, host: (u64, u64)) -> Result<Self, Error> {
        let failed = |e: io::Error| Error::Unsupported(format!("no netfilter socket: {e}"));
        let namespace = Namespace::enter(&config, host)?;
        let mut events = Socket::open(0).map_err(failed)?;
        harness::subscribe(&mut events).map_err(failed)?;
        let control = Socket::open(0).map_err(failed)?;
        let datagrams = Datagrams::new();
        Ok(Self { config, namespace, events, control, datagrams, complete: false, sticky: false })
    }

    /// Whether loading another ruleset leaves nothing of this one.
    fn reusable(&self, config: &Config) -> bool {
        self.config == *config && !self.sticky
    }

    /// Replaces the ruleset, then adds the harness, since a ruleset may begin by flushing everything.
    fn load(&mut self, ruleset: Ruleset) -> Result<(), Error> {
        self.complete = false;
        harness::run("nft", &["flush", "ruleset"], "")
            .map_err(|e| Error::Unsupported(format!("no nftables: {e}")))?;
        self.sticky = ruleset.has_ipsets();
        let loaded = harness::load(&ruleset);
        self.sticky |= harness::legacy_tables();
        loaded?;
        harness::run("nft", &["-f", "-"], &harness::table())
            .map_err(|e| Error::Unsupported(format!("the harness does not load: {e}")))?;
        conntrack::forget_all(&mut self.control).map_err(|e| Error::Lost(e.to_string()))?;
        self.namespace.apply_sysctls(&self.config)?;
        self.complete = true;
        Ok(())
    }

    /// Sends all packets and returns what became of each.
    fn run(&mut self, hook: Hook, frames: &[Frame]) -> Result<Vec<Outcome>, Error> {
        self.check(frames)?;
        let mut outcomes = vec![Outcome::Nothing; frames.len()];
        let mut order: Vec<usize> = (0..frames.len()).collect();
        // Packets without flows go first, so that they meet none.
        let key = |i: &usize| frames.get(*i).map(|f| (f.class != Class::Plain, f.oif));
        order.sort_by_key(key);
        for group in order.chunk_by(|a, b| key(a) == key(b)) {
            let Some((tracked, oif)) = group.first().and_then(key) else { continue };
            self.namespace.route(hook, oif)?;
            if tracked {
                self.run_tracked(hook, frames, group, &mut outcomes)?;
            } else {
                self.run_group(hook, frames, group, &mut outcomes)?;
            }
        }
        Ok(outcomes)
    }

    /// Sends all packets and returns the steps of each.
    fn trace(&mut self, hook: Hook, frames: &[Frame]) -> Result<Vec<Vec<TraceStep>>, Error> {
        self.check(frames)?;
        let lost = |e: io::Error| Error::Lost(e.to_string());
        let mut tracer = Tracer::start(&mut self.control)?;
        let mut traces = Vec::with_capacity(frames.len());
        for frame in frames {
            self.namespace.route(hook, frame.oif)?;
            let flow = (frame.class != Class::Plain).then(|| Flow::of(&frame.bytes)).flatten();
            conntrack::create(&mut self.control, flow.iter().map(|flow| (frame.class, flow)))
                .map_err(lost)?;
            tracer.steps()?;
            self.put(hook, frame)?;
            traces.push(tracer.steps()?);
            if flow.is_some() {
                conntrack::forget_all(&mut self.control).map_err(lost)?;
            }
        }
        tracer.stop()?;
        // The tail chains logged these packets too.
        self.drain(&mut Tally::default(), |_, _| {})?;
        Ok(traces)
    }

    /// Refuses interfaces that do not exist.
    fn check(&self, frames: &[Frame]) -> Result<(), Error> {
        let interfaces = self.namespace.interfaces();
        if frames.iter().any(|f| usize::from(f.iif.max(f.oif)) >= interfaces) {
            return Err(Error::Question(
                "a packet names an interface that is not in the configuration".into(),
            ));
        }
        Ok(())
    }

    /// Gives one packet to the kernel.
    fn put(&mut self, hook: Hook, frame: &Frame) -> Result<(), Error> {
        if hook == Hook::Output {
            self.namespace.emit(&frame.bytes);
            return Ok(());
        }
        self.namespace
            .inject(frame.iif, frame.mac, &frame.bytes)
            .map_err(|e| Error::Lost(format!("a packet could not be sent: {e}")))
    }

    /// Sends packets that need flow entries, in pieces in which no two packets share a flow.
    fn run_tracked(
        &mut self,
        hook: Hook,
        frames: &[Frame],
        group: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<(), Error> {
        let mut rest = group;
        while !rest.is_empty() {
            let mut known = BTreeSet::new();
            let mut flows = Vec::new();
            for frame in rest.iter().filter_map(|i| frames.get(*i)) {
                let flow = Flow::of(&frame.bytes)
                    .ok_or_else(|| Error::Question("a packet without ports wants a flow".into()))?;
                if known.len() >= MAX_FLOWS || !known.insert(flow.undirected()) {
                    break;
                }
                flows.push((frame.class, flow));
            }
            let (piece, tail) = rest.split_at(flows.len());
            rest = tail;
            let failed = |e: io::Error| Error::Unsupported(format!("cannot make flow entries: {e}"));
            conntrack::create(&mut self.control, flows.iter().map(|(class, flow)| (*class, flow)))
                .map_err(failed)?;
            let result = self.run_group(hook, frames, piece, outcomes);
            conntrack::forget_all(&mut self.control).map_err(failed)?;
            result?;
        }
        Ok(())
    }

    /// Sends packets that go the same way; compares counters with events; asks again, one by one, about those
    /// that no rule may have decided.
    fn run_group(
        &mut self,
        hook: Hook,
        frames: &[Frame],
        group: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<(), Error> {
        let count = self.checked(hook, frames, group, outcomes)?;
        let unexplained =
            count.arrived != group.len() as u64 || (hook != Hook::Output && count.prerouted != count.routed);
        if !unexplained {
            return Ok(());
        }
        for i in group {
            if outcomes.get(*i) != Some(&Outcome::Nothing) {
                continue;
            }
            let count = self.checked(hook, frames, std::slice::from_ref(i), outcomes)?;
            if let Some(outcome) = outcomes.get_mut(*i).filter(|outcome| **outcome == Outcome::Nothing) {
                if count.arrived == 0 {
                    *outcome = Outcome::BeforeHooks;
                } else if count.prerouted > count.routed {
                    *outcome = Outcome::Routing;
                }
            }
        }
        Ok(())
    }

    /// Sends packets and makes sure that as many events came as the harness counted.
    fn checked(
        &mut self,
        hook: Hook,
        frames: &[Frame],
        group: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<Count, Error> {
        let lost = |e: io::Error| Error::Lost(e.to_string());
        let mut complaint = String::new();
        for _ in 0..TRIES {
            self.drain(&mut Tally::default(), |_, _| {})?;
            let before = Count::read(&mut self.control).map_err(lost)?;
            let tally = self.send(hook, frames, group, outcomes)?;
            let count = Count::read(&mut self.control).map_err(lost)?.since(before);
            if !tally.overrun && tally.late == 0 && tally.seen == count.seen && count.arrived <= tally.sent {
                return Ok(count);
            }
            complaint = format!(
                "{} packets sent, {} arrived, {} events counted, {} received, {} late",
                tally.sent, count.arrived, count.seen, tally.seen, tally.late
            );
        }
        Err(Error::Lost(complaint))
    }

    fn send(
        &mut self,
        hook: Hook,
        frames: &[Frame],
        group: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for i in group {
            let (Some(frame), Some(slot)) = (frames.get(*i), outcomes.get_mut(*i)) else { continue };
            tally.sent += 1;
            self.put(hook, frame)?;
            let mut outcome = Outcome::Nothing;
            let mut late = 0;
            let wanted = packet::tag(&frame.bytes);
            self.drain(&mut tally, |namespace, event| {
                let answer = event.place == Place::Answer;
                let tag = if answer { packet::answer_tag(event.bytes) } else { packet::tag(event.bytes) };
                late += u64::from(tag != wanted);
                let end = |hook| {
                    let oif = namespace.number(event.out_index);
                    Outcome::End(hook, event.mark, oif, event.bytes.to_vec())
                };
                outcome = match event.place {
                    Place::Answer => Outcome::Answer(event.bytes.to_vec()),
                    Place::Input => end(Hook::Input),
                    Place::Postrouting if hook == Hook::Output => end(Hook::Output),
                    Place::Postrouting => end(Hook::Forward),
                };
            })?;
            *slot = outcome;
            tally.late += late;
            if !self.namespace.icmp_unlimited {
                std::thread::sleep(ICMP_PAUSE);
            }
        }
        Ok(tally)
    }

    /// Handles all waiting events.
    fn drain(&mut self, tally: &mut Tally, mut each: impl FnMut(&Namespace, Event<'_>)) -> Result<(), Error> {
        loop {
            let count = match self.datagrams.receive(self.events.descriptor()) {
                Ok(count) => count,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tally.overrun = true;
                    continue;
                }
                Err(error) => return Err(Error::Lost(error.to_string())),
            };
            for message in self.datagrams.iter().flat_map(Messages) {
                if let Some(event) = Event::parse(message.attributes()) {
                    tally.seen += 1;
                    each(&self.namespace, event);
                }
            }
            // A receive that did not fill the buffers emptied the queue.
            if count < crate::sys::DATAGRAMS {
                return Ok(());
            }
        }
    }
}
