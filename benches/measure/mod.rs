//! What `copy` measures with: the machine, processes and what they cost, two
//! servers, and figures side by side.

pub(crate) mod figures;
pub(crate) mod machine;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod read;
pub(crate) mod servers;
