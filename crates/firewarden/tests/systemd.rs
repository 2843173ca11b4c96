//! The guard as a unit of a real systemd, and `firewarden-recover.service` at a boot: systemd is process 1 of namespaces
//! that end with the test, on a tree in memory into which this system's programs are mounted.
//!
//! Needs root and systemd's programs; is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "apply")]

mod common;

use common::Folder;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a system may take for what it is to do.
const PATIENCE: Duration = Duration::from_secs(150);
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Makes the tree in `$root` and starts systemd in it. `$work` outlives the system; `$boot` is the script that it runs.
const START: &str = r#"
mount -t tmpfs -o mode=755 none "$root"
for folder in usr bin sbin lib lib32 lib64; do
    if [ -L "/$folder" ]; then cp -a "/$folder" "$root/$folder"
    elif [ -d "/$folder" ]; then mkdir "$root/$folder"; mount --bind -o ro "/$folder" "$root/$folder"; fi
done
cd "$root"
mkdir -p proc sys dev run tmp etc/systemd/system root work var/lib/firewarden var/log
mount -t proc none proc
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
for device in null zero full random urandom; do touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
ln -s /proc/self/fd dev/fd
mount -t tmpfs none run
mount -t tmpfs none tmp
mount --bind "$work" work
mkdir -p work/state
chmod 700 work/state
mount --bind work/state var/lib/firewarden
for file in passwd group nsswitch.conf ld.so.cache alternatives; do
    if [ -e "/etc/$file" ]; then cp -a "/etc/$file" etc/; fi
done
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
# Each start of a system has a name of its own.
cat /proc/sys/kernel/random/uuid >work/boot_id
mount --bind work/boot_id proc/sys/kernel/random/boot_id
# Of this system's units none is started but those of the test.
for target in sysinit basic multi-user shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"etc/systemd/system/$target.target"
done
cat >etc/systemd/system/test.service <<END
[Unit]
DefaultDependencies=no
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/sh -c '/bin/sh -eux /work/$boot >/work/$boot.log 2>&1; echo \$\$? >/work/$boot.code'
END
mkdir etc/systemd/system/multi-user.target.wants
ln -s ../test.service etc/systemd/system/multi-user.target.wants/
if [ -e work/firewarden-recover.service ]; then
    cp work/firewarden-recover.service etc/systemd/system/
    systemctl --quiet --root="$root" enable firewarden-recover.service
fi
exec chroot "$root" env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=console \
    </dev/null >"$work/$boot.systemd" 2>&1
"#;

/// What the scripts share.
const WORDS: &str = r#"
cd /work
is_new() { nft list ruleset | grep -q "dport $1 drop"; }
soon() { for _ in $(seq 600); do if "$@"; then return 0; fi; sleep 0.1; done; echo "never: $*"; return 1; }
not() { ! "$@"; }
guard() { systemctl list-units --plain --no-legend --type=service | awk '/Firewarden: guard/ { print $1 }'; }
is_gone() { [ -z "$(guard)" ]; }
main() { systemctl show --property=MainPID --value "$1"; }
"#;

/// A first start: a change whose session and guards are killed, one that is confirmed, one that is on when the power goes.
const FIRST: &str = r#"
nft -f old.nft
./firewarden plan eighty.nft --window 12 --out plan.json
systemd-run --quiet --collect --unit=session /work/firewarden apply /work/plan.json
soon is_new 80
unit=$(guard)
[ "$unit" ]
systemctl show --property=KillMode --property=Restart --property=MainPID "$unit"
# The operator's session ends with everything in it.
systemctl kill --signal=KILL session.service
soon not systemctl --quiet is-active session.service
systemctl is-active "$unit"
# Then the guard and its standby die as well. systemd starts another one.
before=$(main "$unit")
systemctl kill --kill-whom=all --signal=KILL "$unit"
is_new 80
another() { [ "$(main "$unit")" != 0 ] && [ "$(main "$unit")" != "$before" ]; }
soon another
soon not is_new 80
soon is_gone
./firewarden status >status.txt || true
# Now one is confirmed.
./firewarden plan eighty.nft --window 60 --out plan.json
systemd-run --quiet --collect --unit=session /work/firewarden apply /work/plan.json
soon is_new 80
systemd-run --quiet --collect --pipe --wait /work/firewarden confirm
soon is_gone
is_new 80
nft -s list ruleset >confirmed.nft
./firewarden recover --print-unit >firewarden-recover.service
# And another one is on trial.
./firewarden plan all.nft --window 600 --out plan.json
systemd-run --quiet --collect --unit=session /work/firewarden apply /work/plan.json
soon is_new 443
sync
"#;

/// The next start, with an empty kernel.
const SECOND: &str = r#"
soon systemctl --quiet is-active firewarden-recover.service
systemctl show --property=Result firewarden-recover.service
nft -s list ruleset >recovered.nft
./firewarden status >status.txt || true
./firewarden journal verify
"#;

/// A system of its own that dies with the value.
struct System(Child);

impl System {
    fn start(work: &Path, boot: &str) -> System {
        let root = work.join("root");
        std::fs::create_dir_all(&root).unwrap();
        let child = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount", "--net", "--uts", "--ipc", "--cgroup"])
            .args(["--propagation", "private", "sh", "-euc", START])
            .env("root", &root)
            .env("work", work)
            .env("boot", boot)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        System(child)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // The power goes: nobody is told.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a system that runs a script of the work folder, and turns it off as soon as that is over.
#[track_caller]
fn run(work: &Path, boot: &str) {
    let mut system = System::start(work, boot);
    let (code, until) = (work.join(format!("{boot}.code")), Instant::now() + PATIENCE);
    let read = |end: &str| std::fs::read_to_string(work.join(format!("{boot}{end}"))).unwrap_or_default();
    while read(".code").trim().is_empty() {
        let ended = system.0.try_wait().unwrap();
        let told = || format!("{}\n{}", read(".log"), read(".systemd"));
        assert!(ended.is_none(), "systemd ended: {ended:?}\n{}", told());
        assert!(Instant::now() < until, "`{}` was never written\n{}", code.display(), told());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(read(".code").trim(), "0", "{}\n{}", read(".log"), read(".systemd"));
}

/// Why there is no system here.
fn missing() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("it needs root rights".to_owned());
    }
    let programs = [SYSTEMD, "/usr/bin/systemctl", "/usr/bin/systemd-run"];
    if let Some(missing) = programs.iter().find(|program| !Path::new(program).exists()) {
        return Some(format!("`{missing}` is not installed"));
    }
    let kinds = ["--pid", "--fork", "--mount", "--net", "--cgroup", "--propagation", "private"];
    let mounts = "mount -t proc none /proc && mount -t cgroup2 none /mnt && : >/mnt/cgroup.procs";
    let tried = Command::new("unshare").args(kinds).args(["sh", "-c", mounts]).output();
    match tried {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

#[test]
fn systemd_keeps_the_guard_alive_and_a_boot_loads_what_was_confirmed() {
    if let Some(why) = missing() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "this has to be tested in CI: {why}");
        eprintln!("skipped: {why}");
        return;
    }
    let table = |ports: &[u16]| {
        let rules: String = ports.iter().map(|port| format!("    tcp dport {port} drop\n")).collect();
        format!(
            "table inet filter\ndelete table inet filter\ntable inet filter {{\n  chain input {{\n    type filter hook input priority filter; policy accept;\n    tcp dport 22 accept\n{rules}  }}\n}}\n"
        )
    };
    let folder = Folder::with(&[
        ("old.nft", &table(&[])),
        ("eighty.nft", &table(&[80])),
        ("all.nft", &table(&[80, 443])),
        ("first", &format!("{WORDS}{FIRST}")),
        ("second", &format!("{WORDS}{SECOND}")),
    ]);
    let work: PathBuf = folder.path().canonicalize().unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_firewarden"), work.join("firewarden")).unwrap();
    let read = |name: &str| std::fs::read_to_string(work.join(name)).unwrap();
    run(&work, "first");
    let told = read("first.log");
    for property in ["KillMode=process", "Restart=on-failure"] {
        assert!(told.contains(property), "{told}");
    }
    assert!(read("status.txt").contains("nobody confirmed in time"), "{}", read("status.txt"));
    let confirmed = read("confirmed.nft");
    assert!(confirmed.contains("dport 80 drop") && !confirmed.contains("dport 443"), "{confirmed}");
    run(&work, "second");
    assert!(read("second.log").contains("Result=success"), "{}", read("second.log"));
    assert_eq!(read("recovered.nft"), confirmed);
    assert!(read("status.txt").contains("started anew"), "{}", read("status.txt"));
}
