//! Postgres: knows SQL and the wire, not jobs.

pub mod bound;
pub mod catalog;
pub mod connect;
pub mod copy;
pub mod copy_out;
pub mod cursor;
pub mod described;
pub mod hidden;
pub mod horizon;
pub mod ident;
pub mod row_tap;
pub mod sqlstate;
pub mod time_column;
pub mod tls;
