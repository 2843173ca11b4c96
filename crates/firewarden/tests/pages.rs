//! `docs`: the pages are true, the same every time, and `--check` says when they aren't any more.

mod common;

use common::{Folder, repository};
use std::path::Path;
use std::process::Command;

/// The example's files in a folder of their own.
fn web_stack() -> Folder {
    let folder = Folder::with(&[]);
    for name in ["firewarden.yaml", "edge.nft", "lb.nft", "app.rules", "app6.rules", "db.nft"] {
        let text = std::fs::read(repository().join("examples/webstack").join(name)).unwrap();
        folder.write(&format!("stack/{name}"), &text);
    }
    folder
}

fn page(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join("stack/firewarden-docs").join(name)).unwrap()
}

fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_AUTHOR_DATE", "2026-03-01T12:00:00Z")
        .env("GIT_COMMITTER_DATE", "2026-03-02T12:00:00Z")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn who_may_talk_to_whom_and_why() {
    let folder = web_stack();
    folder.run(&["docs", "stack"]).expect(0, &["matrix.md", "rules-edge.md", "topology.svg"]);
    let matrix = page(&folder, "matrix.md");
    for line in [
        "| from ↓ to → | edge | lb | app | db | internet |",
        "| **app** |  |  |  | only `tcp/5432` | allow `tcp/443` |",
        "| `only app -> db tcp/5432` | app-to-db | holds | data-team | the application keeps everything in PostgreSQL | [firewarden.yaml:43](../firewarden.yaml#L43) | not in git |",
    ] {
        assert!(matrix.contains(line), "{line}\n{matrix}");
    }
    // The rules that let a flow and its answers through need it; others don't.
    let rules = page(&folder, "rules-db.md");
    let row = |start: &str| rules.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(row("| [db.nft:29]").contains("| app-to-db | data-team |"), "{rules}");
    assert!(row("| [db.nft:23]").contains("| app-to-db |"), "{rules}");
    assert!(row("| [db.nft:31]").contains("| no intent |"), "{rules}");
    let edge = page(&folder, "rules-edge.md");
    assert!(edge.lines().any(|line| line.contains("dnat to $lb4") && line.contains("public-web")), "{edge}");
    assert!(edge.contains("filter chain on forward, policy drop; the policy decides for"), "{edge}");
    let html = page(&folder, "matrix.html");
    assert!(
        html.contains("prefers-color-scheme: dark") && html.contains("<svg") && !html.contains("<script")
    );
    assert!(
        !html.contains("http://")
            || html.matches("http://").count() == html.matches("http://www.w3.org/").count()
    );
    assert!(!page(&folder, "topology.svg").contains("NaN"));
}

#[test]
fn pages_are_checked_and_say_what_differs() {
    let folder = web_stack();
    folder.run(&["docs", "stack", "--check"]).expect(1, &["matrix.md is missing", "run `firewarden docs`"]);
    folder.run(&["docs", "stack"]).expect(0, &[]);
    folder.run(&["docs", "stack", "--check"]).expect(0, &["7 pages are up to date"]);
    // Whatever the clone is called.
    std::fs::rename(folder.path().join("stack"), folder.path().join("other")).unwrap();
    folder.run(&["docs", "other", "--check"]).expect(0, &["up to date"]);
    std::fs::rename(folder.path().join("other"), folder.path().join("stack")).unwrap();
    // From another folder, by another path: the same.
    folder.run(&["docs", "stack/firewarden.yaml", "--check"]).expect(0, &["up to date"]);
    let rules = std::fs::read_to_string(folder.path().join("stack/db.nft")).unwrap();
    let opened = rules.replace("tcp dport 22 accept", "tcp dport { 22, 2222 } accept");
    folder.write("stack/db.nft", opened.as_bytes());
    let stale = folder.run(&["docs", "stack", "--check"]);
    stale.expect(1, &["rules-db.md is out of date", "- | [db.nft:31]", "+ | [db.nft:31]", "{ 22, 2222 }"]);
    assert!(!stale.stdout.contains("rules-lb.md"), "{}", stale.stdout);
    assert!(!page(&folder, "rules-db.md").contains("2222"), "nothing is written");
    // A host that goes takes its page with it.
    folder.run(&["docs", "stack"]).expect(0, &[]);
    let stack = std::fs::read_to_string(folder.path().join("stack/firewarden.yaml")).unwrap();
    folder.write(
        "stack/firewarden.yaml",
        stack.replace("  db:\n", "  data:\n").replace("> db", "> data").as_bytes(),
    );
    folder
        .run(&["docs", "stack", "--check"])
        .expect(1, &["rules-db.md is of a host that isn't declared any more"]);
    folder.run(&["docs", "stack"]).expect(0, &["rules-data.md"]);
    assert!(!folder.path().join("stack/firewarden-docs/rules-db.md").exists());
}

#[test]
fn the_last_change_is_git_s() {
    let folder = web_stack();
    git(folder.path(), &["init", "-q"]);
    git(folder.path(), &["add", "-A"]);
    git(folder.path(), &["commit", "-q", "-m", "the stack as it was"]);
    let rules = std::fs::read_to_string(folder.path().join("stack/db.nft")).unwrap();
    folder.write("stack/db.nft", rules.replace("comment \"PostgreSQL\"", "comment \"Postgres\"").as_bytes());
    folder.run(&["docs", "stack"]).expect(0, &[]);
    let page = |folder: &Folder| page(folder, "rules-db.md");
    let row =
        |text: &str, line: &str| text.lines().find(|row| row.contains(line)).unwrap_or_default().to_owned();
    let first = page(&folder);
    assert!(row(&first, "[db.nft:31]").contains("| 2026-03-01 Ada: the stack as it was ("), "{first}");
    assert!(row(&first, "[db.nft:29]").ends_with("| not committed yet |"), "{first}");
    // The pages can't know the commit that they are part of, and aren't out of date for it.
    git(folder.path(), &["add", "-A"]);
    git(folder.path(), &["commit", "-q", "-m", "a better name"]);
    folder.run(&["docs", "stack", "--check"]).expect(0, &["up to date"]);
    folder.run(&["docs", "stack"]).expect(0, &[]);
    assert!(row(&page(&folder), "[db.nft:29]").contains("Ada: a better name ("), "{}", page(&folder));
}

#[test]
fn strange_texts_stay_texts() {
    let stack = "hosts:\n  web: { rules: web.nft, address: 10.0.0.1 }\nintents:\n  - allow: any -> web tcp/443\n    name: a | b\n    owner: <script>alert(1)</script>\n    because: \"`x` **y** [z](http://example.org) \\u001b[31m\"\n";
    let rules = "table inet t {\n\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n\t\ttcp dport 22 drop comment \"</td>|`<b>\"\n\t}\n}\n";
    let folder = Folder::with(&[("stack/firewarden.yaml", stack), ("stack/web.nft", rules)]);
    folder.run(&["docs", "stack"]).expect(0, &[]);
    let html = page(&folder, "matrix.html");
    assert!(!html.contains("<script>") && !html.contains("</td>|"), "{html}");
    assert!(!html.contains('\u{1b}') && !page(&folder, "matrix.md").contains('\u{1b}'));
    let matrix = page(&folder, "matrix.md");
    assert!(
        matrix.contains("| a \\| b | holds (IPv6 not covered: web has no IPv6 address) | &lt;script&gt;"),
        "{matrix}"
    );
    assert!(matrix.contains("\\`x\\` \\*\\*y\\*\\*"), "{matrix}");
    folder.run(&["docs", "stack", "--check"]).expect(0, &["up to date"]);
}

#[test]
fn what_has_no_intents() {
    let folder = Folder::with(&[("a.nft", "table ip t {\n}\n")]);
    folder.run(&["docs", "a.nft"]).expect(2, &["declares no hosts and intents", "firewarden init"]);
    let broken = Folder::with(&[("firewarden.yaml", "hosts: [\n")]);
    broken.run(&["docs"]).expect(2, &["error"]);
    assert!(!broken.path().join("firewarden-docs").exists());
}
