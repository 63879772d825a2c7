//! mnx-infer
fn main() {}
