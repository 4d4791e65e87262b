//! How far a source has come: its clock, or what a standby has replayed of its primary.
//!
//! An interval is over when the source says so. This machine's clock may be ahead, and a standby may be
//! hours behind: either would record a day with the rows that are there so far, for ever. A standby has
//! come as far as its last transaction, or as its primary's last message while that left nothing to
//! replay; that everything received is replayed says nothing, since a standby that is cut off receives
//! nothing. Behind another standby a message tells the time of that one, not of the primary.

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use tokio_postgres::SimpleQueryMessage;

use super::connect::{Server, Session};
use super::ident;
use crate::error::{Error, ErrorKind, Result};

/// For the simple protocol, in a transaction of its own that ends with it.
pub const HORIZON: &str = "
set local search_path = '';
select s.is_standby as horizon_of_standby,
    pg_catalog.to_char(case when s.is_standby then pg_catalog.pg_last_xact_replay_timestamp()
        else pg_catalog.clock_timestamp() end at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as clock,
    pg_catalog.to_char(case when w.status = 'streaming'
        and pg_catalog.pg_last_wal_replay_lsn() >= w.latest_end_lsn
        then w.last_msg_send_time end at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as heard,
    w.pid is not null and w.status is null as is_hidden
from (select pg_catalog.pg_is_in_recovery()) s(is_standby)
    left join pg_catalog.pg_stat_wal_receiver w on s.is_standby";

/// How far a source has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// Everything that was committed before is there; none if nobody knows.
    pub until: Option<DateTime<Utc>>,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// Whether the role may not see what the standby receives.
    pub is_hidden: bool,
}

impl Horizon {
    /// Asks a source, in one round trip.
    ///
    /// # Errors
    /// The server's.
    pub async fn ask(session: &Session) -> Result<Self> {
        let sql = format!("begin isolation level read committed read only; {HORIZON}; commit");
        let answer = session.client().simple_query(&sql).await;
        match answer {
            Ok(answer) => Self::of(&answer),
            Err(e) => Err(session.error("asking the source how far it has come", e).await),
        }
    }

    /// Reads the answer to [`HORIZON`] among others.
    ///
    /// # Errors
    /// `Server`, if there is none.
    pub fn of(answer: &[SimpleQueryMessage]) -> Result<Self> {
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.columns()[0].name() == "horizon_of_standby" => Some(row),
            _ => None,
        });
        let no_answer = || Error::new(ErrorKind::Server, "the source does not say how far it has come");
        let row = row.ok_or_else(no_answer)?;
        let is = |column| row.get(column) == Some("t");
        let time = |column| {
            let local = NaiveDateTime::parse_from_str(row.get(column)?, "%Y-%m-%d %H:%M:%S%.f");
            local.ok().map(|local| local.and_utc())
        };
        let until = time("clock").max(time("heard"));
        Ok(Self { until, is_standby: is("horizon_of_standby"), is_hidden: is("is_hidden") })
    }

    /// Whether it has come so far.
    #[must_use]
    pub fn is_past(&self, moment: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until >= moment)
    }
}

/// What is read, and when a source has all of it.
#[derive(Debug, Clone)]
pub struct Completion {
    /// What is read: `2026-01-05`.
    pub key: String,
    /// The moment, in the job's time zone.
    pub at: DateTime<Tz>,
}

impl Completion {
    /// Refuses to read from a source that has not come so far.
    ///
    /// # Errors
    /// `NotComplete`.
    pub fn check(&self, horizon: &Horizon, server: &Server) -> Result<()> {
        if horizon.is_past(self.at.to_utc()) {
            return Ok(());
        }
        let (key, name) = (&self.key, &server.name);
        let until = horizon.until.map(|until| self.text(until));
        let context = match (&until, horizon.is_standby) {
            (Some(until), false) => format!("on {name} it is {until}"),
            (Some(until), true) => format!("{name} is a standby that has replayed up to {until}"),
            (None, _) => format!("{name} is a standby, and nobody knows how far it has replayed"),
        };
        let context = format!("{key} is not complete yet: {context}, not {}", self.text(self.at.to_utc()));
        Err(Error::new(ErrorKind::NotComplete, context).with_hint(hint(horizon, server)))
    }

    /// With seconds: what is missing may be less than a minute.
    fn text(&self, moment: DateTime<Utc>) -> String {
        let local = moment.with_timezone(&self.at.timezone());
        format!("{} {}", local.format("%Y-%m-%d %H:%M:%S"), local.timezone().name())
    }
}

fn hint(horizon: &Horizon, server: &Server) -> String {
    if horizon.is_hidden {
        let role = ident::quote(&server.role);
        return format!(
            "whether it still receives is hidden from this role: on its primary, \
             grant pg_read_all_stats to {role};"
        );
    }
    if horizon.is_standby {
        return "run it again later; if it stays so, look at pg_stat_wal_receiver there, \
                or read from the primary"
            .to_owned();
    }
    "the clock of this machine is ahead, or the source's is behind: run it again later, or mend the clock"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            name: "source".into(),
            host: "db:5432".into(),
            version_num: 150_000,
            system_identifier: 0,
            database_oid: 1,
            in_recovery: true,
            read_only: true,
            postmaster_start: String::new(),
            backend_pid: 1,
            is_windows: false,
            role: "e\"tl".into(),
            superuser: false,
        }
    }

    fn moment(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_has_not_come_so_far_is_told_with_what_helps() {
        let at = moment("2026-01-06T05:10:00Z").with_timezone(&chrono_tz::America::New_York);
        let completion = Completion { key: "2026-01-05".into(), at };
        let at = |text| Horizon { until: Some(moment(text)), ..Horizon::default() };
        assert!(completion.check(&at("2026-01-06T05:10:00Z"), &server()).is_ok());
        let behind = at("2026-01-06T05:09:59Z");
        let error = completion.check(&behind, &server()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotComplete);
        assert_eq!(
            error.to_string(),
            "2026-01-05 is not complete yet: on source it is 2026-01-06 00:09:59 America/New_York, \
             not 2026-01-06 00:10:00 America/New_York"
        );
        let standby = Horizon { is_standby: true, is_hidden: true, ..behind };
        let error = completion.check(&standby, &server()).unwrap_err();
        assert!(error.to_string().contains("source is a standby that has replayed up to"), "{error}");
        assert!(error.hint().unwrap().contains("grant pg_read_all_stats to \"e\"\"tl\";"), "{error:?}");
        let nothing = Horizon { is_standby: true, ..Horizon::default() };
        assert!(completion.check(&nothing, &server()).is_err());
    }
}
