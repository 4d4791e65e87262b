//! One leader among the schedules of a project: an advisory lock in the destination.
//!
//! The lock is the session's, so it is free as soon as the leader's process or connection dies. It needs
//! no table: a destination where nothing was loaded yet has a leader too. Who leads, and since when, is
//! in the leader's application name, which every role may read.

use chrono::{DateTime, SecondsFormat, Utc};
use xxhash_rust::xxh3::xxh3_64;

use super::{Holder, Owner, claim};
use crate::error::Result;
use crate::postgres::connect::Session;

/// What begins a leader's application name.
const LEADER: &str = "pgtide/leader";

/// Bytes of a host that fit an application name beside the rest.
const HOST_BYTES: usize = 17;

/// The sessions that hold the lock whose key is `$1`.
const HOLDERS: &str = "
select l.pid as backend_pid, a.application_name as name, a.client_addr::text as client
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and (l.classid::bigint << 32) | l.objid::bigint = $1
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())";

/// The lock of one project's schedule in one destination.
#[derive(Debug, Clone)]
pub struct LeaderLock {
    key: i64,
    doing: String,
}

impl LeaderLock {
    /// The lock of a project, in a ledger's schema. Two connections of a project may lead to one database:
    /// each has a lock, known by its name.
    #[must_use]
    pub fn new(schema: &str, project: &str, connection: &str) -> Self {
        let what = format!("pgtide leader {schema} {project} {connection}");
        let key = xxh3_64(what.as_bytes()).cast_signed();
        Self { key, doing: format!("competing for the schedule of {project}") }
    }

    /// Tries to take the lead, to be called until it says yes; it lasts as long as the session.
    ///
    /// # Errors
    /// `Config`, if a pooler stands between; otherwise as the server says.
    pub async fn try_take(&self, session: &Session, owner: &Owner) -> Result<bool> {
        let sql = "select pg_catalog.pg_try_advisory_lock($1), pg_catalog.pg_backend_pid()";
        let row = session.query_one(&self.doing, sql, &[&self.key]).await?;
        claim::refuse_pooler(session, &self.doing, row.get(1))?;
        if !row.get::<_, bool>(0) {
            return Ok(false);
        }
        let name = application_name(owner, Utc::now());
        let sql = "select pg_catalog.set_config('application_name', $1, false)";
        session.query_one(&self.doing, sql, &[&name]).await?;
        Ok(true)
    }

    /// Whether this session still leads.
    ///
    /// # Errors
    /// As the server says: then it does not.
    pub async fn is_held(&self, session: &Session) -> Result<bool> {
        let sql = format!(
            "select exists (select from ({HOLDERS}) h where h.backend_pid = pg_catalog.pg_backend_pid())"
        );
        Ok(session.query_one(&self.doing, &sql, &[&self.key]).await?.get(0))
    }

    /// Finds who leads; none if nobody does by now.
    ///
    /// # Errors
    /// As the server says.
    pub async fn holder(&self, session: &Session) -> Result<Option<Holder>> {
        let row = session.query_opt(&self.doing, HOLDERS, &[&self.key]).await?;
        Ok(row.map(|row| {
            let name: Option<String> = row.get("name");
            let (host, pid, since) = name.as_deref().map(parts).unwrap_or_default();
            Holder {
                host: host.or_else(|| row.get("client")).unwrap_or_else(|| "an unknown host".to_owned()),
                pid,
                since,
                run_id: None,
                backend_pid: row.get("backend_pid"),
            }
        }))
    }
}

/// `pgtide/leader etl-1 4711 2026-01-06T22:10:04Z`.
fn application_name(owner: &Owner, now: DateTime<Utc>) -> String {
    let word = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let host: String = owner.host.chars().map(word).take(HOST_BYTES).collect();
    format!("{LEADER} {host} {} {}", owner.pid, now.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn parts(name: &str) -> (Option<String>, Option<u32>, Option<DateTime<Utc>>) {
    let mut words = name.strip_prefix(LEADER).unwrap_or_default().split_whitespace();
    let host = words.next().map(str::to_owned);
    let pid = words.next().and_then(|word| word.parse().ok());
    (host, pid, words.next().and_then(|word| word.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaders_name_says_who_and_since_when_and_fits() {
        let owner = Owner {
            host: "a-very-long-name-of-a-host.example.org".to_owned(),
            pid: u32::MAX,
            run_id: String::new(),
            trigger: None,
        };
        let now = "2026-01-06T22:10:04Z".parse().unwrap();
        let name = application_name(&owner, now);
        assert!(name.len() <= 63, "{name}");
        assert_eq!(parts(&name), (Some("a-very-long-name-".to_owned()), Some(u32::MAX), Some(now)));
        assert_eq!(parts("psql"), (None, None, None));
    }
}
