//! Binary `COPY (query) TO STDOUT`, cut into tuples: the cheapest way to read many small rows.
//!
//! Fields are slices of what the server sent, so nothing is allocated for a row. Whoever asks knows the
//! query, and so the number and the types of its columns.

use std::pin::pin;

use bytes::{Buf, BytesMut};
use chrono::{DateTime, Utc};
use futures::StreamExt;

use super::connect::Session;
use crate::error::{Error, ErrorKind, Result};

/// Signature, flags, and the length of an extension of which there is none.
const HEADER_BYTES: usize = 19;

/// The fields of a row; `None` where one is null.
pub type Fields<'a, const N: usize> = [Option<&'a [u8]>; N];

/// Runs a query of `N` columns by COPY and hands over each of its rows.
///
/// # Errors
/// The server's; `Internal`, if what was sent is not whole.
pub async fn each_row<const N: usize>(
    session: &Session,
    doing: &str,
    query: &str,
    mut take: impl FnMut(Fields<'_, N>),
) -> Result<()> {
    let sql = format!("copy ({query}) to stdout (format binary)");
    let stream = match session.client().copy_out(&sql).await {
        Ok(stream) => stream,
        Err(error) => return Err(session.error(doing, error).await),
    };
    let (mut stream, mut tuples) = (pin!(stream), Tuples::default());
    while let Some(message) = stream.next().await {
        match message {
            Ok(bytes) => tuples.cut(&bytes, &mut take),
            Err(error) => return Err(session.error(doing, error).await),
        }
    }
    if tuples.is_over() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, format!("{doing}: what was sent is not whole")))
}

/// An `int8`, or what has its form.
#[must_use]
pub fn integer(bytes: &[u8]) -> i64 {
    bytes.try_into().map(i64::from_be_bytes).unwrap_or_default()
}

/// A `timestamptz`: microseconds since 2000-01-01, or an infinity, which is the end of all time here too.
#[must_use]
pub fn moment(bytes: &[u8]) -> DateTime<Utc> {
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
    match integer(bytes) {
        i64::MIN => DateTime::<Utc>::MIN_UTC,
        i64::MAX => DateTime::<Utc>::MAX_UTC,
        micros => micros
            .checked_add(EPOCH_MICROS)
            .and_then(DateTime::from_timestamp_micros)
            .unwrap_or(DateTime::<Utc>::MAX_UTC),
    }
}

/// What has arrived and is not a whole tuple yet; a server sends a tuple a message, but need not.
#[derive(Default)]
struct Tuples {
    rest: BytesMut,
    has_begun: bool,
}

impl Tuples {
    fn cut<const N: usize>(&mut self, message: &[u8], take: &mut impl FnMut(Fields<'_, N>)) {
        if self.rest.is_empty() && self.has_begun {
            let used = cut(message, take);
            self.rest.extend_from_slice(&message[used..]);
            return;
        }
        self.rest.extend_from_slice(message);
        if !self.has_begun && self.rest.len() >= HEADER_BYTES {
            self.rest.advance(HEADER_BYTES);
            self.has_begun = true;
        }
        if self.has_begun {
            let used = cut(&self.rest, take);
            self.rest.advance(used);
        }
    }

    /// Whether all tuples were taken and the trailer, a count of -1, is what is left.
    fn is_over(&self) -> bool {
        self.rest[..] == (-1_i16).to_be_bytes()
    }
}

/// Hands over the whole tuples at the front and gives their length in bytes.
fn cut<const N: usize>(bytes: &[u8], take: &mut impl FnMut(Fields<'_, N>)) -> usize {
    let mut rest = bytes;
    while let Some((fields, behind)) = tuple(rest) {
        take(fields);
        rest = behind;
    }
    bytes.len() - rest.len()
}

/// The first tuple, if it is there whole, and what is behind it.
fn tuple<const N: usize>(bytes: &[u8]) -> Option<(Fields<'_, N>, &[u8])> {
    let (count, mut rest) = bytes.split_first_chunk()?;
    if usize::try_from(i16::from_be_bytes(*count)) != Ok(N) {
        return None;
    }
    let mut fields = [None; N];
    for field in &mut fields {
        let (length, behind) = rest.split_first_chunk()?;
        rest = behind;
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let (value, behind) = rest.split_at_checked(length)?;
            (*field, rest) = (Some(value), behind);
        }
    }
    Some((fields, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_found_however_the_bytes_arrive() {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for number in [7_i64, -1] {
            bytes.extend(6_i16.to_be_bytes());
            for field in 0..6_i64 {
                if field == 3 {
                    bytes.extend((-1_i32).to_be_bytes());
                } else {
                    bytes.extend(8_i32.to_be_bytes());
                    bytes.extend((number * 10 + field).to_be_bytes());
                }
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        for size in [1, 3, 19, 50, bytes.len()] {
            let (mut tuples, mut found) = (Tuples::default(), Vec::new());
            for part in bytes.chunks(size) {
                tuples.cut(part, &mut |fields: Fields<'_, 6>| found.push(fields.map(|f| f.map(integer))));
            }
            let expected = |n: i64| [0, 1, 2, 3, 4, 5].map(|i| (i != 3).then_some(n * 10 + i));
            assert_eq!(found, [expected(7), expected(-1)], "in parts of {size}");
            assert!(tuples.is_over());
            tuples.cut(&[0], &mut |_: Fields<'_, 6>| ());
            assert!(!tuples.is_over(), "something is left");
        }
    }

    #[test]
    fn a_tuple_of_another_width_is_never_taken() {
        let mut tuples = Tuples { rest: BytesMut::new(), has_begun: true };
        let bytes = [&2_i16.to_be_bytes()[..], &(-1_i32).to_be_bytes(), &(-1_i32).to_be_bytes()].concat();
        tuples.cut(&bytes, &mut |_: Fields<'_, 3>| panic!("it has two fields"));
        assert!(!tuples.is_over());
    }

    #[test]
    fn moments_are_those_of_the_server() {
        let text = |micros: i64| moment(&micros.to_be_bytes()).to_rfc3339();
        assert_eq!(text(0), "2000-01-01T00:00:00+00:00");
        assert_eq!(text(-1), "1999-12-31T23:59:59.999999+00:00");
        let ends = [i64::MIN, i64::MAX].map(|micros| moment(&micros.to_be_bytes()));
        assert_eq!(ends, [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC]);
    }
}
