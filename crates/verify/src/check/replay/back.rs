//! The answer to a packet, by the routes of each host that it comes to.

use super::{Arrival, End, Ending, Hop, Onward, Place, Replay, Traveller, Trip, Way, later_packet};
use crate::check::ways::{self, Asked, Direction};
use firewarden_network::{Via, hop_limit};
use firewarden_packet::{Field, Point, ct_state};
use firewarden_ruleset::interpreter::Walk;
use firewarden_ruleset::ir::Hook;

impl Replay<'_> {
    /// From where the first packet arrived back to where it came from, as far as it gets.
    pub(super) fn back(&self, answer: Point, hops: &[Hop]) -> Trip {
        let mut trip = Trip::made(Ending::Left, Vec::new(), answer.clone());
        let mut walk = Walk::new(answer);
        trip.ending = self.answer_way(hops, &mut walk, &mut trip);
        trip.last = walk.now;
        trip
    }

    fn answer_way(&self, hops: &[Hop], walk: &mut Walk, trip: &mut Trip) -> Ending {
        let Some(mut number) = hops.len().checked_sub(1) else { return Ending::Left };
        let mut came_by: Option<u128> = None;
        let mut passed = 0;
        while let Some(hop) = hops.get(number) {
            *walk = later_packet(walk.now.clone(), hop, true);
            let input = came_by.take().unwrap_or(hop.output);
            let mut onward = match self.cross(number, hop, input, walk, trip) {
                Ok(onward) => onward,
                Err(ending) => return ending,
            };
            trip.met.push(number);
            let mut here = hop.host;
            let (next, by) = loop {
                passed += 1;
                if passed > hop_limit(self.hosts.len()) {
                    return Ending::Loop(here);
                }
                match onward {
                    Onward::Planned => break (number.checked_sub(1), None),
                    Onward::Link => break (self.last_owner(hops, number, &walk.now), None),
                    Onward::Router(router, output) => {
                        let Some(via) = ways::router(self.hosts, here, output, router) else {
                            break (number.checked_sub(1), None);
                        };
                        let seen = (0..number)
                            .rev()
                            .find(|&at| hops.get(at).is_some_and(|hop| hop.host == via.host));
                        if seen.is_some() {
                            break (seen, via.input.map(|name| name.0));
                        }
                        here = via.host;
                        match self.strange(via, walk, trip) {
                            Ok(found) => onward = found,
                            Err(Ending::Delivered(host)) => return Ending::Astray(host),
                            Err(ending) => return ending,
                        }
                    }
                }
            };
            let straight = here == hop.host && trip.met.len() == hops.len() - number;
            let fits = |source: End, destination: End| {
                walk.now.get(Field::SADDR) == source.address
                    && walk.now.get(Field::DADDR) == destination.address
            };
            match next {
                None => {
                    let known = number == 0 && straight
                        || hops.first().is_none_or(|first| fits(first.entry.1, first.entry.0));
                    return if known { Ending::Left } else { Ending::Astray(here) };
                }
                Some(before) => {
                    let adjacent = straight && before + 1 == number;
                    let known = adjacent || hops.get(before).is_some_and(|hop| fits(hop.exit.1, hop.exit.0));
                    if !known {
                        return Ending::Astray(here);
                    }
                    number = before;
                    came_by = by;
                }
            }
        }
        Ending::Left
    }

    /// The last hop before that has the answer's destination.
    fn last_owner(&self, hops: &[Hop], before: usize, now: &Point) -> Option<usize> {
        let owns = |at: &usize| {
            let host = hops.get(*at).and_then(|hop| self.hosts.get(hop.host.0));
            host.is_some_and(|host| host.own(now.get(Field::NFPROTO)).contains(now.get(Field::DADDR)))
        };
        (0..before).rev().find(owns)
    }

    /// Through a host that knows the connection.
    fn cross(
        &self,
        number: usize,
        hop: &Hop,
        input: u128,
        walk: &mut Walk,
        trip: &mut Trip,
    ) -> Result<Onward, Ending> {
        let way = match hop.way {
            Way::Out => Way::In,
            Way::In => Way::Out,
            Way::Through => Way::Through,
        };
        let mut place = Place { host: hop.host, way, input, output: hop.input };
        let mut onward = Onward::Planned;
        if way == Way::Out {
            (place.output, _) = self.answer_onward(hop, way, input, walk)?;
        }
        let mut packet = walk.now.clone();
        packet.set(Field::IIFNAME, if way == Way::Out { 0 } else { input });
        packet.set(Field::OIFNAME, if way == Way::In { 0 } else { place.output });
        trip.arrivals.push(Arrival { host: hop.host, packet, translated: hop.entry != hop.exit });
        let (before, after): (&[Hook], &[Hook]) = match way {
            Way::Out => (&[Hook::Output], &[Hook::Postrouting, Hook::Egress]),
            Way::In => (&[Hook::Ingress, Hook::Prerouting], &[Hook::Input]),
            Way::Through => {
                (&[Hook::Ingress, Hook::Prerouting], &[Hook::Forward, Hook::Postrouting, Hook::Egress])
            }
        };
        if let Some(refused) = self.hooks(place, before, walk, trip) {
            return Err(refused);
        }
        if way != Way::Out
            && let Some(host) = self.hosts.get(hop.host.0)
            && ways::refuses_source(host, &walk.now, self.atoms)
        {
            return Err(Ending::ReversePath(hop.host));
        }
        if way != Way::In {
            (place.output, onward) = self.answer_onward(hop, way, input, walk)?;
        }
        if let Some(refused) = self.hooks(place, after, walk, trip) {
            return Err(refused);
        }
        if way == Way::In {
            trip.met.push(number);
            return Err(Ending::Delivered(hop.host));
        }
        Ok(onward)
    }

    /// The interface by which the answer leaves, and where it goes.
    fn answer_onward(&self, hop: &Hop, way: Way, input: u128, walk: &Walk) -> Result<(u128, Onward), Ending> {
        let Some(host) = self.hosts.get(hop.host.0) else { return Ok((hop.input, Onward::Planned)) };
        let asked = Asked {
            packet: &walk.now,
            from: walk.now.get(Field::SADDR),
            to: walk.now.get(Field::DADDR),
            input: (way != Way::Out).then_some(input),
            mark: walk.now.get(Field::MARK),
            answer: true,
        };
        match ways::direction(host, &asked, self.atoms) {
            Direction::Unknown => Ok((hop.input, Onward::Planned)),
            Direction::Out { output, router } => {
                let onward = router.map_or(Onward::Link, |router| Onward::Router(router, output));
                Ok((output.map_or(hop.input, |name| name.0), onward))
            }
            Direction::Here => Err(Ending::Astray(hop.host)),
            Direction::Nowhere => Err(Ending::NoRoute(hop.host)),
        }
    }

    /// Through a host that hasn't seen the first packet.
    fn strange(&self, via: Via, walk: &mut Walk, trip: &mut Trip) -> Result<Onward, Ending> {
        let datagram = matches!(walk.now.get(Field::L4PROTO), 17 | 136);
        let mut traveller = Traveller {
            replay: self,
            walk: walk.clone(),
            state: if datagram { ct_state::NEW } else { ct_state::INVALID },
            trip: Trip::made(Ending::Left, std::mem::take(&mut trip.happenings), walk.now.clone()),
        };
        let passed = traveller.pass(via);
        *walk = traveller.walk;
        trip.happenings = traveller.trip.happenings;
        trip.before_last = traveller.trip.before_last;
        passed
    }
}
