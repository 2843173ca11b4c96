//! `ip -j route show table all` and `ip -j rule` (ip-route(8), ip-rule(8)), with names or with numbers (`-N`).

use super::words::{destination, interface, number, prefix, text, whole};
use super::{NotJson, Read, each};
use firewarden_network::{
    NextHop, Route, RouteAction, RoutingRule, RuleAction, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN,
};
use serde_json::Value;
use std::net::IpAddr;

/// The routes of one family (2 for IPv4, 10 for IPv6) of all tables, from `ip -j route show table all`. IPv6 routes by
/// several routers that are listed one by one become one route, as the kernel uses them.
///
/// # Errors
/// [`NotJson`] where the text is something else.
pub fn routes(listing: &str, nfproto: u128) -> Result<Read<Route>, NotJson> {
    let mut read = each(listing, "a route", |entry| route(entry, nfproto))?;
    if nfproto == 10 {
        read.values = joined(read.values);
    }
    Ok(read)
}

/// The rules of one family in the order in which they are asked, from `ip -j rule`.
///
/// # Errors
/// [`NotJson`] where the text is something else.
pub fn rules(listing: &str, nfproto: u128) -> Result<Read<RoutingRule>, NotJson> {
    let mut read = each(listing, "a routing rule", |entry| rule(entry, nfproto))?;
    read.values.sort_by_key(|rule| rule.priority);
    Ok(read)
}

fn table(entry: &Value) -> Option<u32> {
    match entry.get("table") {
        None => Some(TABLE_MAIN),
        Some(Value::String(name)) if name == "local" => Some(TABLE_LOCAL),
        Some(Value::String(name)) if name == "main" => Some(TABLE_MAIN),
        Some(Value::String(name)) if name == "default" => Some(TABLE_DEFAULT),
        Some(other) => whole(other),
    }
}

fn route(entry: &Value, nfproto: u128) -> Option<Route> {
    let action = match text(entry, "type").unwrap_or("unicast") {
        "unicast" | "1" => RouteAction::Forward(next_hops(entry)?),
        "local" | "2" => RouteAction::Local,
        // Anycast addresses are taken in like a host's own.
        "anycast" | "4" => RouteAction::Local,
        "broadcast" | "3" | "multicast" | "5" => RouteAction::Group,
        "blackhole" | "6" | "unreachable" | "7" | "prohibit" | "8" => RouteAction::Refuse,
        "throw" | "9" => RouteAction::Throw,
        _ => return None,
    };
    let conditional = ["tos", "dsfield", "encap", "nat"].iter().any(|key| entry.get(*key).is_some())
        || text(entry, "from").is_some_and(|from| !matches!(from, "default" | "all" | "::/0"));
    Some(Route {
        destination: destination(text(entry, "dst")?, nfproto)?,
        table: table(entry)?,
        metric: match entry.get("metric") {
            Some(metric) => whole(metric)?,
            None => 0,
        },
        action,
        opaque: conditional.then(|| words(entry)),
    })
}

/// The ways out of a route, without those that the kernel calls dead.
fn next_hops(entry: &Value) -> Option<Vec<NextHop>> {
    let one = |part: &Value| {
        let gateway = match (text(part, "gateway"), part.get("via")) {
            (Some(gateway), _) => Some(number(gateway.parse::<IpAddr>().ok()?)),
            (None, Some(via)) => Some(number(text(via, "host")?.parse::<IpAddr>().ok()?)),
            (None, None) => None,
        };
        Some(NextHop { gateway, interface: interface(part, "dev")? })
    };
    let hops = match entry.get("nexthops").and_then(Value::as_array) {
        Some(parts) => {
            let alive = parts.iter().filter(|part| {
                part.get("flags")
                    .and_then(Value::as_array)
                    .is_none_or(|flags| !flags.iter().any(|f| f == "dead"))
            });
            alive.map(one).collect::<Option<Vec<NextHop>>>()?
        }
        None => vec![one(entry)?],
    };
    (!hops.is_empty()).then_some(hops)
}

/// Routes by routers with the same prefix and metric, listed one by one, as one with several ways out.
fn joined(routes: Vec<Route>) -> Vec<Route> {
    let mut joined: Vec<Route> = Vec::with_capacity(routes.len());
    for route in routes {
        let by_router = |action: &RouteAction| matches!(action, RouteAction::Forward(hops) if hops.iter().all(|hop| hop.gateway.is_some()));
        // ip lists the parts of one route next to each other.
        let same = joined.last_mut().filter(|last| {
            (last.destination, last.table, last.metric) == (route.destination, route.table, route.metric)
                && last.opaque.is_none()
                && route.opaque.is_none()
                && by_router(&last.action)
                && by_router(&route.action)
        });
        match (same, route.action) {
            (Some(Route { action: RouteAction::Forward(known), .. }), RouteAction::Forward(more)) => {
                known.extend(more);
            }
            (_, action) => joined.push(Route { action, ..route }),
        }
    }
    joined
}

/// Conditions and effects of a rule that are understood, and words that change nothing.
const RULE_KEYS: [&str; 17] = [
    "priority",
    "not",
    "src",
    "srclen",
    "dst",
    "dstlen",
    "fwmark",
    "fwmask",
    "iif",
    "iif_detached",
    "oif_detached",
    "table",
    "protocol",
    "suppress_prefixlen",
    "action",
    "goto",
    "unresolved",
];

fn rule(entry: &Value, nfproto: u128) -> Option<RoutingRule> {
    let range = |key: &str, length: &str| -> Option<Option<(u128, u128)>> {
        match text(entry, key) {
            None | Some("all") => Some(None),
            Some(address) => {
                let whole_prefix = match entry.get(length) {
                    Some(length) => format!("{address}/{}", whole(length)?),
                    None => address.to_owned(),
                };
                Some(Some(prefix(&whole_prefix)?.subnet()))
            }
        }
    };
    let action = match (text(entry, "action"), entry.get("goto")) {
        (_, Some(target)) => RuleAction::Goto(whole(target)?),
        (Some("blackhole" | "6" | "unreachable" | "7" | "prohibit" | "8"), _) => RuleAction::Refuse,
        (Some("nop"), _) => RuleAction::Nothing,
        (None | Some("lookup" | "to_tbl"), _) => RuleAction::Table(table(entry)?),
        (Some(_), _) => return None,
    };
    let number = |key: &str| -> Option<Option<u32>> {
        match entry.get(key) {
            None => Some(None),
            Some(value) => Some(Some(whole(value)?)),
        }
    };
    let mark = match (number("fwmark")?, number("fwmask")?) {
        (Some(mark), mask) => Some((mark, mask.unwrap_or(u32::MAX))),
        (None, _) => None,
    };
    let known = entry.as_object()?.keys().all(|key| RULE_KEYS.contains(&key.as_str()));
    Some(RoutingRule {
        nfproto,
        priority: entry.get("priority").and_then(whole)?,
        inverted: entry.get("not").is_some(),
        from: range("src", "srclen")?,
        to: range("dst", "dstlen")?,
        mark,
        input: interface(entry, "iif")?,
        action,
        suppressed: number("suppress_prefixlen")?,
        opaque: (!known).then(|| words(entry)),
    })
}

/// An entry as one line for people: `priority 105 ipproto tcp dport 80`.
fn words(entry: &Value) -> String {
    let Some(map) = entry.as_object() else { return String::new() };
    let parts = map.iter().filter(|(_, value)| !value.is_array()).map(|(key, value)| match value {
        Value::Null => key.clone(),
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    parts.collect::<Vec<_>>().join(" ").replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_packet::InterfaceName;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> u128 {
        u128::from(u32::from_be_bytes([a, b, c, d]))
    }

    #[test]
    fn routes_with_names_and_with_numbers() {
        let read = routes(
            r#"[{"dst":"default","flags":[],"nexthops":[
                   {"gateway":"10.0.0.2","dev":"va","weight":1,"flags":[]},
                   {"gateway":"10.0.0.3","dev":"va","weight":1,"flags":["dead","linkdown"]},
                   {"gateway":"10.0.0.4","dev":"vb","weight":1,"flags":["linkdown"]}]},
                {"dst":"10.0.0.0/24","dev":"va","protocol":"kernel","scope":"link","prefsrc":"10.0.0.1","flags":[]},
                {"dst":"192.168.0.0/16","gateway":"10.0.0.9","dev":"va","table":"100","metric":50,"flags":[]},
                {"dst":"198.51.100.0/24","via":{"family":"inet6","host":"fe80::2"},"dev":"va","flags":[]},
                {"type":"blackhole","dst":"203.0.113.0/24","flags":[]},
                {"type":"7","dst":"203.0.114.0/24","flags":[]},
                {"type":"throw","dst":"203.0.115.0/24","table":"100","flags":[]},
                {"type":"local","dst":"10.0.0.1","dev":"va","table":"local","flags":[]},
                {"type":"3","dst":"10.0.0.255","dev":"va","table":"255","flags":[]},
                {"dst":"10.77.0.0/16","tos":"0x10","gateway":"10.0.0.4","dev":"va","flags":[]},
                {"type":"strange","dst":"10.0.0.0/8"}]"#,
            2,
        )
        .unwrap();
        assert_eq!(read.unread.len(), 1);
        let va = InterfaceName::new("va").ok();
        let RouteAction::Forward(hops) = &read.values[0].action else { panic!("{:?}", read.values[0]) };
        assert_eq!(hops.len(), 2, "a dead way isn't used: {hops:?}");
        assert_eq!(hops[0], NextHop { gateway: Some((2, v4(10, 0, 0, 2))), interface: va });
        assert_eq!(read.values[0].destination.prefix, 0);
        assert_eq!(
            read.values[1].action,
            RouteAction::Forward(vec![NextHop { gateway: None, interface: va }])
        );
        assert_eq!((read.values[2].table, read.values[2].metric), (100, 50));
        let RouteAction::Forward(hops) = &read.values[3].action else { panic!() };
        assert_eq!(hops[0].gateway, Some((10, (0xFE80 << 112) | 2)));
        let actions: Vec<&RouteAction> = read.values[4..9].iter().map(|route| &route.action).collect();
        assert_eq!(
            actions,
            [
                &RouteAction::Refuse,
                &RouteAction::Refuse,
                &RouteAction::Throw,
                &RouteAction::Local,
                &RouteAction::Group
            ]
        );
        assert_eq!((read.values[7].table, read.values[8].table), (TABLE_LOCAL, TABLE_LOCAL));
        assert!(read.values[9].opaque.as_deref().unwrap().contains("tos 0x10"));
    }

    #[test]
    fn routers_of_ipv6_listed_one_by_one_are_one_route() {
        let read = routes(
            r#"[{"dst":"default","gateway":"2001:db8::2","dev":"va","metric":1024,"flags":[]},
                {"dst":"default","gateway":"2001:db8::3","dev":"va","metric":1024,"flags":[]},
                {"dst":"fe80::/64","dev":"va","metric":256,"flags":[]},
                {"dst":"fe80::/64","dev":"vb","metric":256,"flags":[]}]"#,
            10,
        )
        .unwrap();
        assert_eq!(read.values.len(), 3);
        assert!(matches!(&read.values[0].action, RouteAction::Forward(hops) if hops.len() == 2));
    }

    #[test]
    fn rules_in_their_order() {
        let read = rules(
            r#"[{"priority":32766,"src":"all","table":"main"},
                {"priority":0,"src":"all","table":"255"},
                {"priority":100,"src":"10.0.0.0","srclen":24,"fwmark":"0x1","fwmask":"0xff","table":"100"},
                {"priority":101,"not":null,"src":"all","fwmark":"0xca6c","table":"51820"},
                {"priority":102,"src":"all","dst":"10.2.3.4","action":"blackhole"},
                {"priority":103,"src":"all","iif":"va","iif_detached":null,"goto":32766},
                {"priority":104,"src":"all","table":"main","suppress_prefixlen":0},
                {"priority":105,"src":"all","ipproto":"tcp","dport":80,"table":"100"}]"#,
            2,
        )
        .unwrap();
        assert_eq!(read.unread, []);
        let priorities: Vec<u32> = read.values.iter().map(|rule| rule.priority).collect();
        assert_eq!(priorities, [0, 100, 101, 102, 103, 104, 105, 32766]);
        assert_eq!(read.values[1].from, Some((v4(10, 0, 0, 0), v4(10, 0, 0, 255))));
        assert_eq!(read.values[1].mark, Some((1, 0xFF)));
        assert_eq!((read.values[2].inverted, read.values[2].mark), (true, Some((51820, u32::MAX))));
        assert_eq!(read.values[3].action, RuleAction::Refuse);
        assert_eq!(read.values[4].action, RuleAction::Goto(32766));
        assert_eq!(read.values[5].suppressed, Some(0));
        assert!(read.values[6].opaque.as_deref().unwrap().contains("dport 80"));
        assert!(read.values[..6].iter().all(|rule| rule.opaque.is_none()));
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        assert!(routes("Cannot open netlink socket", 2).is_err());
        assert_eq!(routes("", 2).unwrap().values, []);
    }
}
