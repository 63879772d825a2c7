//! mnx-benches
