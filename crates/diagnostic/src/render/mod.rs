//! One renderer for each output format. All of them are pure: equal reports give byte-equal text.
//!
//! Names, comments and rules come from files that nobody vouches for. The text renderers therefore replace
//! every control, direction-changing and invisible character one for one (see [`text`]), and each escapes
//! what its own format would act on; the JSON formats keep the characters, written as `\u` escapes.

mod concise;
mod github;
mod human;
mod json;
mod junit;
pub mod markdown;
mod place;
mod sarif;
mod snippet;
pub mod text;

pub use concise::render_concise;
pub use github::render_github;
pub use human::{HumanOptions, Style, render_diagnostics, render_human};
pub use json::{render_json, report_schema};
pub use junit::render_junit;
pub use markdown::render_markdown;
pub use sarif::render_sarif;
