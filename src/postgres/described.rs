//! What the server says of a statement's columns and parameters, without the driver's look at their types.
//!
//! For a type that Postgres does not bring, tokio-postgres asks the catalog with statements of its own, and
//! keeps them as long as the client lives. Behind a pooler they would stay in a server process that is
//! another's by then. Rows are never decoded, so it is told that such types are unknown; what they are is
//! read here.

use tokio_postgres::types::Type;

/// `RowDescription`.
const COLUMNS: u8 = b'T';
/// `ParameterDescription`.
const PARAMETERS: u8 = b't';

/// A column of a statement's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The name.
    pub name: String,
    /// The type's OID.
    pub oid: u32,
    /// The type's modifier; -1 for none.
    pub typmod: i32,
}

/// Whether a message tells of types.
pub(super) fn is_description(kind: u8) -> bool {
    matches!(kind, COLUMNS | PARAMETERS)
}

/// Makes types of others unknown in the body of a description; gives the columns, if it is one of columns.
pub(super) fn hide_types(kind: u8, body: &mut [u8]) -> Option<Vec<Described>> {
    if kind == COLUMNS {
        return columns(body);
    }
    parameters(body);
    None
}

/// Reads the body of `RowDescription`, in which types of others become unknown.
fn columns(body: &mut [u8]) -> Option<Vec<Described>> {
    let count = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let mut at = 2;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let length = body.get(at..)?.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8_lossy(&body[at..at + length]).into_owned();
        // Behind the name: the table, the column's number, the type, its length, its modifier, the format.
        let type_at = at + length + 1 + 4 + 2;
        let oid = mask(body, type_at)?;
        let typmod = i32::from_be_bytes(*body.get(type_at + 6..)?.first_chunk()?);
        columns.push(Described { name, oid, typmod });
        at = type_at + 4 + 2 + 4 + 2;
    }
    Some(columns)
}

/// Makes types of others unknown in the body of `ParameterDescription`.
fn parameters(body: &mut [u8]) {
    let mut at = 2;
    while mask(body, at).is_some() {
        at += 4;
    }
}

/// The type at a place, which becomes unknown unless Postgres brings it.
fn mask(body: &mut [u8], at: usize) -> Option<u32> {
    let place = body.get_mut(at..at + 4)?;
    let oid = u32::from_be_bytes(*place.first_chunk()?);
    if Type::from_oid(oid).is_none() {
        place.copy_from_slice(&Type::UNKNOWN.oid().to_be_bytes());
    }
    Some(oid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(name: &str, oid: u32, typmod: i32) -> Vec<u8> {
        let parts: [&[u8]; 7] = [
            name.as_bytes(),
            b"\0\0\0\0\x07\0\x01",
            &oid.to_be_bytes(),
            b"\xff\xff",
            &typmod.to_be_bytes(),
            b"\0\x01",
            b"",
        ];
        parts.concat()
    }

    #[test]
    fn types_of_others_are_unknown_to_the_driver_and_known_here() {
        let body = |mood| [b"\0\x02".to_vec(), column("id", 20, -1), column("mood", mood, 9)].concat();
        let mut told = body(50_001);
        let described = columns(&mut told).unwrap();
        let expected = [("id", 20, -1), ("mood", 50_001, 9)];
        let expected = expected.map(|(name, oid, typmod)| Described { name: name.into(), oid, typmod });
        assert_eq!(described, expected);
        assert_eq!(told, body(705));

        let mut told =
            [b"\0\x02".to_vec(), 20_u32.to_be_bytes().to_vec(), 50_001_u32.to_be_bytes().to_vec()].concat();
        parameters(&mut told);
        assert_eq!(told, [b"\0\x02".as_slice(), &20_u32.to_be_bytes(), &705_u32.to_be_bytes()].concat());
    }

    proptest! {
        #[test]
        fn bytes_of_no_sense_never_panic(mut body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = columns(&mut body);
            parameters(&mut body);
        }
    }
}
