//! Unpublished: generators, corpus access and the differential harness.
