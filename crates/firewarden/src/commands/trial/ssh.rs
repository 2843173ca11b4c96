//! `firewarden apply --ssh`: another host's Firewarden carries the plan out, this one retells what it says and confirms over a
//! connection of its own. Nothing is changed here.

use super::apply::read;
use super::events::Teller;
use super::{NOT_CHANGED, WAY_BACK};
use crate::cli::trial::ApplyPlan;
use crate::commands::Stopped;
use crate::output::Color;
use firewarden_change::trial::{Outcome, Phase, Record};
use firewarden_diagnostic::Diagnostic;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How ssh ends where there is no connection, or none any more.
const NO_CONNECTION: i32 = 255;
/// How long a new connection may take, in seconds, at most.
const CONNECTING: u64 = 10;
/// How often a host whose session is lost is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the command on `target`.
pub fn run(options: &ApplyPlan, target: &str, color: Color) -> Result<ExitCode, Stopped> {
    let plan = read(&options.plan)?;
    let window = Duration::from_secs(u64::from(plan.window_seconds));
    let teller = Arc::new(Teller::new(options.format, color));
    let remote = Remote { target: target.to_owned() };
    let mut child = remote.session(&arguments(options))?;
    if let Some(mut input) = child.stdin.take() {
        // A host that stops reading says why on its standard error.
        thread::spawn(move || drop(input.write_all(plan.write().as_bytes())));
    }
    let mut trial = None;
    let lines = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    for line in lines.map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            teller.trouble(&line);
            continue;
        };
        let said = |key: &str| event.get(key).and_then(Value::as_str).map(str::to_owned);
        trial = trial.or_else(|| said("trial"));
        let is_waiting = said("event").as_deref() == Some("waiting");
        let left = event.get("left_seconds").and_then(Value::as_f64).unwrap_or_default();
        teller.retell(event);
        if is_waiting {
            let decision = Decision {
                remote: remote.clone(),
                teller: Arc::clone(&teller),
                left: Duration::try_from_secs_f64(left).unwrap_or_default(),
                unasked: options.auto_confirm,
                can_ask: options.plan.as_os_str() != "-",
            };
            // Beside the events: the deadline doesn't wait for an answer.
            thread::spawn(move || decision.make());
        }
    }
    let status = child.wait().map_err(|error| unusable(target, &error.to_string()))?;
    match (status.code(), trial) {
        (Some(code), _) if code != NO_CONNECTION => {
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(NOT_CHANGED)))
        }
        (_, None) => Err(unusable(target, "ssh has no connection").into()),
        (_, Some(trial)) => {
            teller.trouble(
                "the session is lost; the trial goes on without it, and nothing confirms it from here",
            );
            Ok(remote.await_end(&trial, window + WAY_BACK, &teller))
        }
    }
}

/// What the other host's Firewarden is told.
fn arguments(options: &ApplyPlan) -> Vec<String> {
    let mut words: Vec<String> =
        ["apply", "-", "--format", "json", "--probe-timeout"].map(str::to_owned).to_vec();
    words.push(options.probing.probe_timeout.to_string());
    let mut add = |name: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    let of = &options.of;
    add("--accept-findings", options.accept_findings.clone());
    add("--change", of.change.clone());
    let changes = of.change.as_ref().map(|_| &of.changes);
    let paths = [
        ("--changes", changes),
        ("--policy", of.rules.policy.as_ref()),
        ("--signers", of.rules.signers.as_ref()),
        ("--revoked", of.rules.revoked.as_ref()),
    ];
    for (name, path) in paths {
        add(name, path.map(|path| path.display().to_string()));
    }
    for probe in &options.probing.probe {
        add("--probe", Some(format!("{}={}", probe.name, probe.command)));
    }
    if options.cut {
        words.push("--cut".to_owned());
    }
    words
}

/// A host behind ssh.
#[derive(Clone)]
struct Remote {
    target: String,
}

impl Remote {
    /// The session in which the plan is carried out. It is given up once the host hasn't answered for a while.
    fn session(&self, words: &[String]) -> Result<Child, Diagnostic> {
        let mut command =
            self.command(words, &["-T", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map_err(|error| unusable(&self.target, &error.to_string()))
    }

    /// Runs Firewarden over a connection that is opened now, and asks nobody for a password. The error says that there is no
    /// connection.
    fn anew(&self, words: &[&str], patience: Duration) -> Result<Answer, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let timeout = format!("ConnectTimeout={}", patience.as_secs().clamp(1, CONNECTING));
        let options = [
            "-T",
            "-o",
            "ControlMaster=no",
            "-o",
            "ControlPath=none",
            "-o",
            "BatchMode=yes",
            "-o",
            &timeout,
            "-o",
            "ServerAliveInterval=2",
            "-o",
            "ServerAliveCountMax=2",
        ];
        let mut command = self.command(&words, &options).map_err(|problem| problem.message)?;
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.code() {
            Some(NO_CONNECTION) | None => Err(text(&output.stderr)),
            Some(code) => Ok(Answer { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }),
        }
    }

    /// ssh with a command line that any shell takes: it runs Firewarden as root.
    fn command(&self, words: &[String], options: &[&str]) -> Result<Command, Diagnostic> {
        let unspeakable = |_| unusable(&self.target, "an option contains a NUL");
        let firewarden = std::iter::once("firewarden").chain(words.iter().map(String::as_str));
        let firewarden = shlex::try_join(firewarden).map_err(unspeakable)?;
        let script = format!(
            "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; if [ \"$(id -u)\" = 0 ]; then exec {firewarden}; else exec sudo -n {firewarden}; fi"
        );
        let script = shlex::try_quote(&script).map_err(unspeakable)?.into_owned();
        let mut command = Command::new("ssh");
        command.args(options).arg("--").arg(&self.target).arg(format!("exec sh -c {script}"));
        Ok(command)
    }

    /// Asks a host whose session is lost how the trial ended, until it tells.
    fn await_end(&self, trial: &str, patience: Duration, teller: &Teller) -> ExitCode {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            match self
                .anew(&["status", "--format", "json"], AGAIN)
                .ok()
                .and_then(|answer| outcome(&answer.stdout, trial))
            {
                Some(outcome) => {
                    teller.ended(&outcome);
                    let confirmed = matches!(outcome, Outcome::Confirmed { .. });
                    return if confirmed { ExitCode::SUCCESS } else { ExitCode::from(NOT_CHANGED) };
                }
                None => thread::sleep(AGAIN),
            }
        }
        teller
            .trouble(&format!("`{}` doesn't tell how it ended: see `firewarden status` there", self.target));
        ExitCode::from(NOT_CHANGED)
    }
}

/// How a trial ended, from what `status` writes; `None` where it isn't over, or another one is meant.
fn outcome(status: &str, trial: &str) -> Option<Outcome> {
    let status: Value = serde_json::from_str(status).ok()?;
    let told = status.get("trial").filter(|told| told.get("id").and_then(Value::as_str) == Some(trial))?;
    let record: Record = serde_json::from_value(told.get("record")?.clone()).ok()?;
    match record.phase {
        Phase::Done(outcome) => Some(outcome),
        _ => None,
    }
}

/// What Firewarden said over a new connection.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

/// The new rules are in force: keep them?
struct Decision {
    remote: Remote,
    teller: Arc<Teller>,
    left: Duration,
    /// Nobody is asked.
    unasked: bool,
    /// Standard input is free for an answer.
    can_ask: bool,
}

impl Decision {
    fn make(&self) {
        if self.unasked {
            return self.ask(&["confirm"]);
        }
        if !self.can_ask {
            return self.teller.note("standard input had the plan, so nobody is asked here");
        }
        // A new connection comes before the question: without one, `yes` would be wrong.
        if let Err(why) = self.remote.anew(&["status"], self.left) {
            return self.no_connection(&why);
        }
        let _ = write!(std::io::stderr(), "a new connection gets in; keep the new rules? [y/n] ");
        let mut answer = String::new();
        match std::io::stdin().lock().read_line(&mut answer).map(|_| answer.trim()) {
            Ok("y" | "yes") => self.ask(&["confirm"]),
            Ok("n" | "no") => self.ask(&["revert", "--because", "the operator said no"]),
            _ => self.teller.note("no answer, so nothing is confirmed: the old rules return at the deadline"),
        }
    }

    /// Asks for it over a new connection.
    fn ask(&self, words: &[&str]) {
        let what = words.first().copied().unwrap_or_default();
        self.teller.note(&format!("asking for it over a new connection: `firewarden {what}`"));
        match self.remote.anew(words, self.left) {
            // How it ended is an event of its own.
            Ok(answer) if answer.code == 0 => {}
            Ok(answer) => self.teller.trouble(&answer.stderr),
            Err(why) => self.no_connection(&why),
        }
    }

    fn no_connection(&self, why: &str) {
        self.teller.trouble(&format!(
            "no new connection gets in, so nothing is confirmed and the old rules return at the deadline: {why}"
        ));
    }
}

fn unusable(target: &str, why: &str) -> Diagnostic {
    Diagnostic::error("ssh", format!("`{target}` cannot be told to apply it: {why}"))
        .help("check `ssh USER@HOST`; firewarden has to be installed there, and be allowed by `sudo -n` unless the user is root")
}
