//! Check, on the examples and on small rulesets.

mod support;
use support::World;

#[test]
fn show_examples() {
    for folder in [
        "examples/webstack",
        "examples/outages/000",
        "examples/outages/001",
        "examples/outages/002",
        "examples/outages/003",
        "examples/outages/004",
    ] {
        let mut world = World::folder(folder);
        let checked = world.check(&[]);
        println!("=== {folder} {:#?}", checked.diagnostics);
        for item in &checked.results {
            println!("{}", world.show(item));
        }
    }
}
