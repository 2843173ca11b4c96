//! Reports that the renderer tests share.

use firewarden_diagnostic::{
    Dependency, Diagnostic, FileId, Finding, Manager, Report, ResultItem, SourceMap, Span, Step, Verdict,
    Witness,
};

/// The span of the first occurrence of `text` in a file.
pub fn find(sources: &SourceMap, file: FileId, text: &str) -> Span {
    let start = sources.get(file).unwrap().text.find(text).unwrap();
    Span::new(file, start, start + text.len())
}

fn step(host: &str, place: &str, span: Option<Span>, rule: &str, action: &str, decides: bool) -> Step {
    Step { host: host.into(), place: place.into(), span, rule: rule.into(), action: action.into(), decides }
}

/// A check with one result of every verdict, and a diagnostic about an input.
pub fn web_stack() -> (Report, SourceMap) {
    let mut sources = SourceMap::default();
    let stack = sources.add(
        "firewarden.yaml",
        "intents:\n  - allow: lb -> app tcp/8080\n  - allow: app -> db tcp/5432\n  - deny: internet -> nobody\n",
    );
    let lb =
        sources.add("lb.nft", "table inet filter {\n  chain out {\n    oifname \"eth0\" accept\n  }\n}\n");
    let app = sources.add(
        "app.rules",
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
         -A INPUT -s 10.0.1.0/24 -j DROP\n-A INPUT -p tcp --dport 8080 -m limit --limit 5/sec -j ACCEPT\nCOMMIT\n",
    );
    let accept = find(&sources, lb, "oifname \"eth0\" accept");
    let drop = find(&sources, app, "-A INPUT -s 10.0.1.0/24 -j DROP");
    let limit = find(&sources, app, "-m limit --limit 5/sec");

    let mut report = Report::new("0.1.0", "check", "examples/webstack");
    report.diagnostics.push(
        Diagnostic::warning("unknown-interface", "interface `eth0` is not declared for `lb`")
            .at(find(&sources, lb, "\"eth0\""), "used here")
            .see(find(&sources, stack, "lb ->"), "`lb` is named here")
            .because("rules that name it never match")
            .help("declare it under `interfaces`"),
    );
    let mut pass = ResultItem::new("public-web", "allow internet -> lb tcp/443", Verdict::Pass);
    pass.owner = Some("web-team".into());
    pass.detail = Some("IPv6 not covered: lb has no IPv6 address".into());
    report.results.push(pass);

    let mut fail = ResultItem::new("lb-to-app", "allow lb -> app tcp/8080", Verdict::Fail);
    fail.declared = Some(find(&sources, stack, "allow: lb -> app tcp/8080"));
    fail.owner = Some("web-team".into());
    fail.because = Some("the load balancer calls the API".into());
    let mut finding = Finding::from(
        Diagnostic::error("allow-blocked", "`lb -> app tcp/8080` is dropped on `app`")
            .at(drop, "drops the packet")
            .see(find(&sources, app, "-A INPUT -p tcp --dport 8080"), "would have accepted it")
            .because("all of 10.0.1.0/24 is dropped before port 8080 is accepted")
            .help("move the rule below line 5, or narrow its source"),
    );
    finding.witnesses.push(Witness {
        packet: "tcp 10.0.1.10:40000 -> 10.0.2.20:8080 in eth0 ct new".into(),
        fields: vec![("ip.saddr".into(), "10.0.1.10".into()), ("tcp.dport".into(), "8080".into())],
        outcome: "dropped on app".into(),
        given: vec![],
        path: vec![
            step("lb", "inet filter out", Some(accept), "oifname \"eth0\" accept", "accept", false),
            step("lb", "route", None, "", "to app over eth0", false),
            step("app", "ip filter INPUT", Some(drop), "-A INPUT -s 10.0.1.0/24 -j DROP", "drop", true),
        ],
    });
    finding.manager = Some(Manager { name: "ufw".into(), edit: "edit `/etc/ufw/user.rules`".into() });
    fail.findings.push(finding);
    report.results.push(fail);

    let mut depends = ResultItem::new("limited", "allow office -> app tcp/8080", Verdict::Depends);
    let mut finding = Finding::from(
        Diagnostic::warning("allow-depends", "whether it arrives depends on a limit").at(limit, ""),
    );
    for (outcome, given) in [("delivered", "limit#1 matches"), ("dropped on app", "limit#1 does not match")] {
        finding.witnesses.push(Witness {
            packet: "tcp 198.51.100.7:40000 -> 10.0.2.20:8080 in eth0 ct new".into(),
            fields: vec![],
            outcome: outcome.into(),
            given: vec![given.into()],
            path: vec![],
        });
    }
    finding.depends_on.push(Dependency {
        name: "limit#1".into(),
        span: Some(limit),
        text: "-m limit --limit 5/sec".into(),
        assumption: Some("assume: limit#1 matches".into()),
    });
    finding.assumptions.push("forwarding is on for every host".into());
    depends.findings.push(finding);
    report.results.push(depends);

    let mut vacuous = ResultItem::new("nobody", "deny internet -> nobody", Verdict::Vacuous);
    vacuous.declared = Some(find(&sources, stack, "deny: internet -> nobody"));
    vacuous.detail = Some("`nobody` has no address".into());
    report.results.push(vacuous);
    report.results.push(ResultItem::new("big", "allow any -> any", Verdict::Undetermined));
    let mut error = ResultItem::new("typo", "allow lb -> apq tcp/80", Verdict::Error);
    error.detail = Some("`apq` is not declared; did you mean `app`?".into());
    report.results.push(error);
    (report, sources)
}

/// A report whose every text attacks the format it is shown in.
pub fn hostile() -> (Report, SourceMap) {
    let attack = "x\x1b[2J\u{9b}31m\u{202e}evil\n::error::owned\r\n##[error]own|ed `tick` ```\n# h @team \
                  <script>]]></failure>--> [a](http://x) %0A \u{0}\u{feff}";
    let mut sources = SourceMap::default();
    let file = sources.add("::evil,\x1b]0;name:\n.nft", format!("drop # {attack}\n"));
    let mut report = Report::new("0.1.0", "check", attack);
    let mut result = ResultItem::new(attack, attack, Verdict::Fail);
    (result.owner, result.because, result.detail) =
        (Some(attack.into()), Some(attack.into()), Some(attack.into()));
    let mut finding = Finding::from(
        Diagnostic::error("allow-blocked", attack)
            .at(Span::new(file, 0, 400), attack)
            .because(attack)
            .help(attack),
    );
    finding.witnesses.push(Witness {
        packet: attack.into(),
        fields: vec![(attack.into(), attack.into())],
        outcome: attack.into(),
        given: vec![attack.into()],
        path: vec![step(attack, attack, Some(Span::new(file, 0, 4)), attack, attack, true)],
    });
    finding.manager = Some(Manager { name: attack.into(), edit: attack.into() });
    finding.assumptions.push(attack.into());
    finding.depends_on.push(Dependency {
        name: attack.into(),
        span: None,
        text: attack.into(),
        assumption: Some(attack.into()),
    });
    report.diagnostics.push(finding.diagnostic.clone());
    result.findings.push(finding);
    report.results.push(result);
    (report, sources)
}
