//! The types of a statement's parameters, for statements that are not prepared under a name.
//!
//! The driver asks the server for them by preparing the statement, and keeps that as long as a row of
//! the answer lives: longer than the transaction, and so longer than a pooler leaves us the server
//! process. pgtide's own statements take few types, and each value accepts one of them.

use bytes::BytesMut;
use tokio_postgres::types::{ToSql, Type};

use crate::error::{Error, ErrorKind, Result};

/// What pgtide's own statements are given.
const TYPES: [Type; 11] = [
    Type::TEXT,
    Type::BOOL,
    Type::OID,
    Type::INT4,
    Type::INT8,
    Type::INT2,
    Type::TIMESTAMPTZ,
    Type::TEXT_ARRAY,
    Type::OID_ARRAY,
    Type::INT4_ARRAY,
    Type::INT8_ARRAY,
];

/// A parameter with its type.
pub(super) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// The parameters of a statement with their types.
pub(super) fn typed<'a>(params: &'a [&'a (dyn ToSql + Sync)]) -> Result<Vec<Typed<'a>>> {
    let with_type = |value: &&'a (dyn ToSql + Sync)| {
        let accepts = |ty: &&Type| value.to_sql_checked(ty, &mut BytesMut::new()).is_ok();
        let ty = TYPES.iter().find(accepts).cloned();
        ty.map(|ty| (*value, ty)).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a parameter of a statement is of a type that is not expected")
        })
    };
    params.iter().map(with_type).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_type() {
        let (names, none): (Vec<String>, Option<Vec<String>>) = (vec!["a".into()], None);
        let params: [&(dyn ToSql + Sync); 9] =
            [&"a", &true, &7_u32, &7_i32, &7_i64, &names, &none, &vec![7_u32], &vec![7_i32]];
        let types: Vec<Type> = typed(&params).unwrap().into_iter().map(|(_, ty)| ty).collect();
        let (texts, oids) = (Type::TEXT_ARRAY, Type::OID_ARRAY);
        let expected = [
            Type::TEXT,
            Type::BOOL,
            Type::OID,
            Type::INT4,
            Type::INT8,
            texts.clone(),
            texts,
            oids,
            Type::INT4_ARRAY,
        ];
        assert_eq!(types, expected);
    }
}
