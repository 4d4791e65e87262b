//! Type modifiers: whether what fits one also fits another.
//!
//! A modifier is a number whose meaning the type knows; these are the built-in ones. Of all others
//! only equality is understood.

/// `atttypmod` of lengths and of numeric counts the four bytes of an old header.
const HEADER: i32 = 4;
/// An interval's mask and precision when nothing limits them.
const INTERVAL_FULL_MASK: i32 = 0x7fff;
const INTERVAL_FULL_PRECISION: i32 = 0xffff;
/// Timestamps, times and intervals keep microseconds.
const FULL_PRECISION: i32 = 6;

/// Whether some value of the built-in type with the source's modifier changes under the target's.
pub(super) fn is_narrower(type_name: &str, source: i32, target: i32) -> bool {
    if target < 0 || source == target {
        return false;
    }
    match type_name {
        "numeric" => numeric_is_narrower(source, target),
        "varchar" | "bpchar" | "varbit" => source < 0 || target < source,
        "timestamp" | "timestamptz" | "time" | "timetz" => precision(target) < precision(source),
        "interval" => interval_is_narrower(source, target),
        _ => true,
    }
}

/// Whether a text of so many characters fits a `varchar` with the modifier.
pub(super) fn text_fits(target: i32, characters: Option<i32>) -> bool {
    target < 0 || characters.is_some_and(|n| n <= target - HEADER)
}

/// Whether a whole number of so many digits fits a `numeric` with the modifier.
pub(super) fn digits_fit(target: i32, digits: i32) -> bool {
    if target < 0 {
        return true;
    }
    let (precision, scale) = numeric(target);
    scale >= 0 && precision - scale >= digits
}

fn numeric_is_narrower(source: i32, target: i32) -> bool {
    if source < 0 {
        return true;
    }
    let ((p, s), (target_p, target_s)) = (numeric(source), numeric(target));
    target_s < s || target_p - target_s < p - s
}

/// Precision and scale; since 15 the scale has a sign, in eleven bits.
fn numeric(typmod: i32) -> (i32, i32) {
    let bits = typmod - HEADER;
    let scale = bits & 0x7ff;
    ((bits >> 16) & 0xffff, (scale ^ 1024) - 1024)
}

fn precision(typmod: i32) -> i32 {
    if typmod < 0 { FULL_PRECISION } else { typmod }
}

fn interval_is_narrower(source: i32, target: i32) -> bool {
    let parts = |typmod: i32| match typmod {
        -1 => (INTERVAL_FULL_MASK, FULL_PRECISION),
        _ => {
            let precision = typmod & 0xffff;
            let full = precision == INTERVAL_FULL_PRECISION;
            ((typmod >> 16) & 0x7fff, if full { FULL_PRECISION } else { precision })
        }
    };
    let ((mask, precision), (target_mask, target_precision)) = (parts(source), parts(target));
    target_precision < precision || (target_mask != INTERVAL_FULL_MASK && target_mask != mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + HEADER
    }

    #[test]
    fn numeric_needs_room_on_both_sides_of_the_point() {
        let narrower = |a: (i32, i32), b: (i32, i32)| {
            is_narrower("numeric", numeric_typmod(a.0, a.1), numeric_typmod(b.0, b.1))
        };
        assert!(!narrower((10, 2), (12, 4)));
        assert!(narrower((10, 2), (11, 4)));
        assert!(narrower((10, 2), (12, 1)));
        assert!(narrower((5, -2), (5, 0)));
        assert!(!narrower((5, -2), (7, 0)));
        assert!(is_narrower("numeric", -1, numeric_typmod(1000, 0)));
        assert!(!is_narrower("numeric", numeric_typmod(1000, 0), -1));
    }

    #[test]
    fn lengths_and_precisions_may_grow() {
        assert!(!is_narrower("varchar", 5 + 4, 6 + 4));
        assert!(is_narrower("varchar", 6 + 4, 5 + 4));
        assert!(is_narrower("varchar", -1, 5 + 4));
        assert!(is_narrower("bit", 4, 5));
        assert!(is_narrower("timestamptz", -1, 0));
        assert!(!is_narrower("timestamptz", -1, 6));
        assert!(!is_narrower("timestamp", 0, 3));
    }

    #[test]
    fn intervals_compare_fields_and_precision() {
        let typmod = |mask: i32, precision: i32| (mask << 16) | precision;
        assert!(!is_narrower("interval", -1, typmod(INTERVAL_FULL_MASK, 6)));
        assert!(is_narrower("interval", -1, typmod(INTERVAL_FULL_MASK, 0)));
        assert!(is_narrower("interval", -1, typmod(4, INTERVAL_FULL_PRECISION)));
        assert!(!is_narrower("interval", typmod(4, INTERVAL_FULL_PRECISION), -1));
    }
}
