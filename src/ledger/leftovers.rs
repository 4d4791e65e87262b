//! What dead attempts left in the table, told from other people's rows by the transactions that wrote it.
//!
//! A row keeps the transaction that wrote it through VACUUM, FREEZE and VACUUM FULL. An update, or an
//! ALTER TABLE that writes the table anew, makes it somebody else's.

use super::{Claim, Ledger};
use crate::postgres::bound::{Bound, Condition};

impl Ledger {
    /// The rows that the batches of dead attempts stored; the parameters come after `before` others.
    #[must_use]
    pub fn left_behind(&self, claim: &Claim, before: usize) -> Condition {
        let (id, token) = (before + 1, before + 2);
        let sql = self.sql(&format!(
            "xmin in (select b.xid::pg_catalog.xid from pgtide.batch b
                      where b.interval_id = ${id} and b.token <> ${token} and b.number > 0 and not b.staged)"
        ));
        let id = Bound::Raw(claim.interval_id.to_be_bytes().to_vec());
        Condition { sql, params: vec![id, Bound::Raw(claim.token.as_bytes().to_vec())] }
    }

    /// The same condition for a person, who runs it when no attempt is at work.
    #[must_use]
    pub fn left_behind_by_hand(&self, claim: &Claim) -> String {
        self.sql(&format!(
            "xmin in (select xid::xid from pgtide.batch where interval_id = {} and number > 0 and not staged)",
            claim.interval_id
        ))
    }
}
