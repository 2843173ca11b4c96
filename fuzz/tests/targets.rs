//! The fuzz targets. Under `cargo test` each runs a fixed set of recipes, then random ones with a seed that a failure
//! prints; README.md says how to run them for longer.

use firewarden_fuzz::language::{INTENT, IPSET, IPTABLES, Language, NFT_JSON, NFT_TEXT, PACKET, STACK};
use firewarden_fuzz::recipe;
use firewarden_fuzz::targets;
use firewarden_fuzz::watch::Watch;
use std::time::Duration;

/// Recipes that are the same in each run.
const FIXED_RECIPES: usize = 150;

/// Random recipes, at most.
const RANDOM_RECIPES: usize = 2_000;

/// How long a target goes on with random recipes.
const RANDOM_TIME: Duration = Duration::from_millis(800);

/// Bytes of a recipe, at most.
const RECIPE_BYTES: usize = 160;

/// Recipes by splitmix64: the same on every machine.
fn fixed(seed: usize) -> Vec<u8> {
    let mut state = seed as u64;
    let length = 1 + seed * 7 % RECIPE_BYTES;
    let byte = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) as u8
    };
    (0..length).map(byte).collect()
}

fn run_fixed(watch: &Watch, language: &Language, target: fn(&str)) {
    for snippet in language.snippets {
        watch.over(snippet, target);
    }
    for seed in 0..FIXED_RECIPES {
        let text = recipe::text(language, &fixed(seed));
        watch.over(&text, |text| {
            let caught = std::panic::catch_unwind(|| target(text));
            if let Err(problem) = caught {
                eprintln!("fixed recipe {seed}: {text:?}");
                std::panic::resume_unwind(problem);
            }
        });
    }
}

macro_rules! fuzz {
    ($name:ident, $language:expr) => {
        #[test]
        fn $name() {
            let watch = Watch::new(stringify!($name));
            run_fixed(&watch, &$language, targets::$name);
            bolero::check!()
                .with_iterations(RANDOM_RECIPES)
                .with_test_time(RANDOM_TIME)
                .with_max_len(RECIPE_BYTES)
                .for_each(|bytes: &[u8]| {
                    watch.over(&recipe::text(&$language, bytes), targets::$name);
                });
        }
    };
}

fuzz!(nft_text, NFT_TEXT);
fuzz!(nft_json, NFT_JSON);
fuzz!(iptables_save, IPTABLES);
fuzz!(ipset_save, IPSET);
fuzz!(stack_file, STACK);
fuzz!(intent, INTENT);
fuzz!(packet, PACKET);
