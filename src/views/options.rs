//! What is asked of a view: the words of `pgtide.toml` and of the comment lines in a view's own file.

pub use crate::config::views::{AfterRefresh, Every, RefreshMode, VIEW_KEYS, ViewOptions, ViewRules};
