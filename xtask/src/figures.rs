//! How long a change takes, from arming to the return of the old rules, for rulesets of several sizes, beside `nft -f` of the
//! whole file. In network namespaces of its own.

use clap::Args;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The port that the intent is about.
const PORT: u16 = 9000;

#[derive(Debug, Args)]
pub struct Options {
    /// Sizes of rulesets, in rules.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    sizes: Vec<usize>,
    /// How often each is measured; medians are printed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The program, built with `cargo build --release --features apply`.
    #[arg(long, default_value = "target/release/firewarden")]
    program: PathBuf,
}

/// Prints a table.
pub fn run(options: &Options) -> ExitCode {
    let program = match options.program.canonicalize() {
        Ok(program) => program,
        Err(error) => {
            eprintln!(
                "{}: {error}; build it with `cargo build --release --features apply`",
                options.program.display()
            );
            return ExitCode::from(2);
        }
    };
    println!("| rules | `nft -f` | plan | held by | arm | apply | detect | revert | confirm |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for size in &options.sizes {
        let runs: Result<Vec<Figures>, String> =
            (0..options.runs.max(1)).map(|_| measure(&program, *size)).collect();
        match runs {
            Ok(runs) => println!("| {size} | {}", row(&runs)),
            Err(why) => {
                eprintln!("{size} rules: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "\nmedians of {} runs; a broken intent is detected by probes that the new rule drops: two connections within a second",
        options.runs
    );
    ExitCode::SUCCESS
}

/// One run.
struct Figures {
    held: String,
    /// Seconds: the whole file by nft, the plan, arming, applying, detecting, reverting, confirming.
    seconds: [f64; 7],
}

fn row(runs: &[Figures]) -> String {
    let median = |number: usize| {
        let mut all: Vec<f64> = runs.iter().filter_map(|run| run.seconds.get(number).copied()).collect();
        all.sort_by(f64::total_cmp);
        let value = all.get(all.len() / 2).copied().unwrap_or_default();
        if value < 1.0 { format!("{:.0} ms", value * 1000.0) } else { format!("{value:.2} s") }
    };
    let held = runs.first().map(|run| run.held.clone()).unwrap_or_default();
    let [nft, plan, arm, apply, detect, revert, confirm] = [0, 1, 2, 3, 4, 5, 6].map(median);
    format!("{nft} | {plan} | {held} | {arm} | {apply} | {detect} | {revert} | {confirm} |")
}

/// A network namespace that ends with the value.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Namespace, String> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat >/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut ready = String::new();
        let out = holder.stdout.take().ok_or("unshare has no output")?;
        BufReader::new(out).read_line(&mut ready).map_err(|error| error.to_string())?;
        match ready.as_str() {
            "ready\n" => Ok(Namespace(holder)),
            _ => Err("no network namespace can be made; run it as root".to_owned()),
        }
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join("ns/net")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    fn shell(&self, script: &str) -> Result<(), String> {
        let status = self.command(Path::new("sh")).args(["-euc", script]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("{script}: {other:?}")),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It is gone already, or goes now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(program: &Path, size: usize) -> Result<Figures, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).map_err(|error| failed(&error));
    let (host, peer) = (Namespace::new()?, Namespace::new()?);
    host.shell(&format!(
        "ip link set lo up; ip link add lan type veth peer name eth0 netns {}; ip address add 10.1.0.1/24 dev lan; ip link set lan up",
        peer.0.id()
    ))?;
    peer.shell("ip address add 10.1.0.2/24 dev eth0; ip link set eth0 up")?;
    let listener = firewarden_host::within(Some(&peer.path()), || TcpListener::bind(("10.1.0.2", PORT)));
    let listener = listener.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    write("rules.nft", &rules(size))?;
    write("new.nft", &format!("insert rule inet filter output index {} tcp dport {PORT} drop\n", size / 2))?;
    write(
        "firewarden.yaml",
        "hosts:\n  host: { rules: rules.nft, address: 10.1.0.1 }\n  peer: { address: 10.1.0.2 }\nintents:\n  - allow: host -> peer tcp/9000\n",
    )?;
    let begun = Instant::now();
    host.shell(&format!("nft -f {}", path("rules.nft").display()))?;
    let nft = begun.elapsed();
    let begun = Instant::now();
    let output = host
        .command(program)
        .arg("plan")
        .arg(path("new.nft"))
        .arg("--stack")
        .arg(path("firewarden.yaml"))
        .args(["--host", "host", "--window", "120", "--out"])
        .arg(path("plan.json"))
        .output()
        .map_err(|error| failed(&error))?;
    let planned = begun.elapsed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The plan breaks an intent, which is what is measured.
    if output.status.code() != Some(1) {
        return Err(format!("plan: {}{text}{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let held = if text.contains("held by the kernel") { "kernel" } else { "guard" };
    let output = apply(&host, program, folder.path()).output().map_err(|error| failed(&error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let times =
        times(&text).ok_or_else(|| format!("apply: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let [armed, applied, detected, reverted] = times;
    // What fails before the change as well counts for nothing, so that somebody has to confirm.
    drop(listener);
    let confirmed = confirm(&host, program, folder.path())?;
    let seconds = |duration: Duration| duration.as_secs_f64();
    Ok(Figures {
        held: held.to_owned(),
        seconds: [
            seconds(nft),
            seconds(planned),
            armed,
            applied - armed,
            detected - applied,
            reverted - detected,
            seconds(confirmed),
        ],
    })
}

/// The plan in a folder, to be applied.
fn apply(host: &Namespace, program: &Path, folder: &Path) -> Command {
    let mut command = host.command(program);
    command.arg("apply").arg(folder.join("plan.json"));
    command.args(["--accept-findings", "figures", "--format", "json", "--state"]).arg(folder.join("state"));
    command
}

/// Applies the plan once more and confirms it as soon as that is asked for; gives how long the command takes to do so.
fn confirm(host: &Namespace, program: &Path, folder: &Path) -> Result<Duration, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut session =
        apply(host, program, folder).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let events = session.stdout.take().ok_or("apply has no output")?;
    let mut told = String::new();
    for line in BufReader::new(events).lines().map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        told += &format!("{line}\n");
        if event["event"] != "waiting" {
            continue;
        }
        let begun = Instant::now();
        let output = host
            .command(program)
            .args(["confirm", "--this-session", "--state"])
            .arg(folder.join("state"))
            .output();
        let (output, took) = (output.map_err(failed)?, begun.elapsed());
        session.wait().map_err(failed)?;
        return match output.status.success() {
            true => Ok(took),
            false => Err(format!("confirm: {}", String::from_utf8_lossy(&output.stderr))),
        };
    }
    session.wait().map_err(failed)?;
    Err(format!("nobody was asked to confirm: {told}"))
}

/// When it was armed, applied, found to break an intent, and back, in seconds since the command began.
fn times(events: &str) -> Option<[f64; 4]> {
    let events: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let at = |name: &str| {
        let of = |event: &&Value| event["event"] == name && event["holds"] != Value::Bool(true);
        events.iter().find(of)?["after_seconds"].as_f64()
    };
    Some([at("armed")?, at("applied")?, at("probe")?, at("reverted")?])
}

/// Rules of a host that may talk to many others.
fn rules(size: usize) -> String {
    let mut text = "table inet filter {\n  chain output {\n    type filter hook output priority filter; policy accept;\n".to_owned();
    for number in 0..size {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        text +=
            &format!("    ip daddr 172.{}.{b}.{c} tcp dport {} accept\n", 16 + a % 16, 1000 + number % 5000);
    }
    text + "  }\n}\n"
}
