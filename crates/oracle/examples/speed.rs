//! Prints how many verdicts a second the oracle gives here: `cargo run --release --example speed`.

use std::process::ExitCode;
use std::time::Instant;

use firewarden_oracle::{
    Config, HELPER_ARGUMENT, Hook, Launch, Oracle, Packet, Ruleset, State, protocol, serve_helper,
};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(HELPER_ARGUMENT) {
        return serve_helper();
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let rules = "policy drop
        ct state established accept
        tcp dport 0-999 accept
        tcp dport 1000-1999 reject with tcp reset";
    let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority 0; {rules}\n }}\n");
    let text = format!("table inet t {{ {}{}{}}}", chain("input"), chain("forward"), chain("output"));
    let config = Config::with_interfaces(["eth0", "eth1"]);
    let mut oracle = Oracle::start(&Launch::automatic()?)?;

    let loads = 20;
    let start = Instant::now();
    for _ in 0..loads {
        oracle.load(&config, &Ruleset::Nft(text.clone()))?;
    }
    println!("load: {:.1} ms", start.elapsed().as_secs_f64() * 1e3 / f64::from(loads));

    let count = 100_000u32;
    for (hook, state) in [
        (Hook::Input, State::New),
        (Hook::Forward, State::New),
        (Hook::Output, State::New),
        (Hook::Input, State::Established),
    ] {
        for v6 in [false, true] {
            let packets: Vec<Packet> = (0..count)
                .map(|n| {
                    let (src, dst) = if v6 {
                        (
                            (0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes().into(),
                            "2001:db8:1::1".parse(),
                        )
                    } else {
                        ((0x0a00_0000 | n).to_be_bytes().into(), "192.0.2.1".parse())
                    };
                    let dst = dst.map_err(|_| "bad address")?;
                    let number = if n % 2 == 0 { protocol::TCP } else { protocol::UDP };
                    Ok(Packet { dport: (n % 3000) as u16, state, ..Packet::new(src, dst, number) })
                })
                .collect::<Result<_, &str>>()?;
            let start = Instant::now();
            let verdicts = oracle.verdicts(hook, &packets)?;
            let seconds = start.elapsed().as_secs_f64();
            let family = if v6 { "IPv6" } else { "IPv4" };
            println!("{hook:?} {state:?} {family}: {:.0} verdicts/s", verdicts.len() as f64 / seconds);
        }
    }
    let packets: Vec<Packet> =
        (0..5_000u16).map(|n| Packet::tcp([10, 0, 0, 1].into(), [192, 0, 2, 1].into(), n % 3000)).collect();
    let start = Instant::now();
    let steps: usize = oracle.traces(Hook::Input, &packets)?.iter().map(Vec::len).sum();
    println!("traces: {:.0} a second, {steps} steps", 5e3 / start.elapsed().as_secs_f64());
    Ok(())
}
