//! The `pgtide` program.

fn main() {}
