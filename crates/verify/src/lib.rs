//! Intents and the questions asked of rulesets: check, exposure, trace; findings.
