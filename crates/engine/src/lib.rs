//! What a ruleset does to sets of packets: decide and peel.
