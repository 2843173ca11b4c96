//! What the postmortems of the five outages say: times, what was suspected, whom it hit.

use crate::cli::tour::Outage;

/// A time of a postmortem, in its own zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Days after the day on which the outage began.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
}

/// What a postmortem says.
pub struct Postmortem {
    /// As in `examples/outages`.
    pub number: &'static str,
    pub title: &'static str,
    /// The day on which it began, and the zone of its times.
    pub date: &'static str,
    pub zone: &'static str,
    pub begun: Moment,
    pub ended: Moment,
    /// Whom it hit, in numbers.
    pub impact: &'static str,
    /// What happened meanwhile.
    pub timeline: &'static [(Moment, &'static str)],
    /// Its file, beside the stack file.
    pub file: &'static str,
}

impl Postmortem {
    /// How long it lasted, in minutes.
    pub fn minutes(&self) -> u32 {
        self.ended.minutes().saturating_sub(self.begun.minutes())
    }
}

impl Moment {
    fn minutes(self) -> u32 {
        (self.day * 24 + self.hour) * 60 + self.minute
    }

    /// `10:45`, with the day where it is a later one.
    pub fn words(self) -> String {
        let later = match self.day {
            0 => String::new(),
            1 => ", next day".to_owned(),
            days => format!(", {days} days later"),
        };
        format!("{:02}:{:02}{later}", self.hour, self.minute)
    }
}

const fn at(day: u32, hour: u32, minute: u32) -> Moment {
    Moment { day, hour, minute }
}

/// The postmortem of an outage.
pub fn postmortem(outage: Outage) -> &'static Postmortem {
    match outage {
        Outage::SourcePorts => &SOURCE_PORTS,
        Outage::Hardening => &HARDENING,
        Outage::Retired => &RETIRED,
        Outage::OfficeOnly => &OFFICE_ONLY,
        Outage::Maintenance => &MAINTENANCE,
    }
}

static SOURCE_PORTS: Postmortem = Postmortem {
    number: "000",
    title: "a third of the requests gets no answer",
    date: "18 February 2024",
    zone: "UTC",
    begun: at(0, 10, 0),
    ended: at(0, 13, 0),
    impact: "error rate up by 30 %",
    timeline: &[
        (at(0, 10, 0), "monitoring shows many more errors"),
        (at(0, 10, 45), "suspected: an overloaded database; half an hour later it proves idle"),
        (at(0, 11, 45), "suspected: the last deployment, which is rolled back; nothing changes"),
        (at(0, 12, 15), "network and security teams are called in"),
        (at(0, 12, 30), "the firewall log shows the rule"),
        (at(0, 13, 0), "the rule is corrected"),
    ],
    file: "app.rules",
};

static HARDENING: Postmortem = Postmortem {
    number: "001",
    title: "nobody reaches the web server",
    date: "1 February 2023",
    zone: "PST",
    begun: at(0, 8, 0),
    ended: at(0, 8, 30),
    impact: "all users",
    timeline: &[
        (at(0, 8, 0), "monitoring shows that requests stay away"),
        (at(0, 8, 10), "suspected: a spike in traffic, so the load balancing is looked at"),
        (at(0, 8, 15), "escalated to the lead engineer, who looks at the rules"),
        (at(0, 8, 30), "the rule, which a security update had added, is corrected"),
    ],
    file: "lb.nft",
};

static RETIRED: Postmortem = Postmortem {
    number: "002",
    title: "one application server loses its database",
    date: "10 May 2024",
    zone: "UTC-5",
    begun: at(0, 8, 0),
    ended: at(0, 11, 30),
    impact: "about 60 % of the users",
    timeline: &[
        (at(0, 8, 0), "monitoring shows errors, and database connections that fail"),
        (at(0, 8, 15), "application logs and server metrics are searched"),
        (at(0, 8, 45), "suspected: an overloaded database, whose team is called in"),
        (at(0, 9, 30), "the database team finds the rule"),
        (at(0, 11, 0), "the rule is corrected"),
        (at(0, 11, 30), "error rates are normal"),
    ],
    file: "db.nft",
};

static OFFICE_ONLY: Postmortem = Postmortem {
    number: "003",
    title: "an \"only\" that became a \"deny\"",
    date: "6 June 2023",
    zone: "UTC",
    begun: at(0, 10, 0),
    ended: at(1, 14, 0),
    impact: "about 80 % of the users",
    timeline: &[
        (at(0, 10, 0), "monitoring shows errors and slow answers; suspected: the database"),
        (at(0, 17, 0), "not the database, after hours of logs, queries and restarts"),
        (at(0, 17, 0), "suspected next: load balancer settings, then routing tables"),
        (at(1, 13, 0), "the rule is found and corrected, after a second escalation"),
        (at(1, 14, 0), "end of the outage, by the dates at the head of the postmortem"),
    ],
    file: "edge.nft",
};

static MAINTENANCE: Postmortem = Postmortem {
    number: "004",
    title: "the maintenance rule that stayed",
    date: "14 October 2023",
    zone: "UTC+03",
    begun: at(0, 10, 0),
    ended: at(1, 2, 30),
    impact: "about 75 % of the users",
    timeline: &[
        (at(0, 10, 0), "connections begin to fail; nobody notices yet"),
        (at(0, 10, 30), "an alert about slow answers; suspected: the database cluster"),
        (at(0, 16, 30), "escalated, after six hours on the database"),
        (at(1, 2, 30), "the rule, left over from maintenance, is found and corrected"),
    ],
    file: "app.rules",
};

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn durations_are_those_of_the_postmortems() {
        let minutes: Vec<u32> =
            Outage::value_variants().iter().map(|outage| postmortem(*outage).minutes()).collect();
        assert_eq!(minutes, [180, 30, 210, 28 * 60, 16 * 60 + 30]);
    }

    #[test]
    fn no_timeline_goes_back_in_time() {
        for outage in Outage::value_variants() {
            let told = postmortem(*outage);
            let times: Vec<u32> = told.timeline.iter().map(|(at, _)| at.minutes()).collect();
            assert!(times.is_sorted(), "{}", told.number);
            assert!(told.timeline.iter().all(|(at, _)| at.minutes() <= told.ended.minutes()));
        }
    }
}
