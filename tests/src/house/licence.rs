//! Licence expressions (SPDX) and the licences that this project lets in.

/// Licences that a program under MIT or Apache-2.0 may be linked with, on no further condition than to name
/// them. The same list is in `deny.toml`.
pub const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an expression can be met with allowed licences alone.
///
/// `OR` needs one side, `AND` both; `AND` binds tighter. The slash of old manifests means `OR`. What does
/// not parse is not allowed.
pub fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &tokens[..];
    any_of(&mut rest) == Some(true) && rest.is_empty()
}

fn any_of(rest: &mut &[&str]) -> Option<bool> {
    let mut met = all_of(rest)?;
    while take(rest, "OR") {
        met |= all_of(rest)?;
    }
    Some(met)
}

fn all_of(rest: &mut &[&str]) -> Option<bool> {
    let mut met = one(rest)?;
    while take(rest, "AND") {
        met &= one(rest)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let met = any_of(rest)?;
        return take(rest, ")").then_some(met);
    }
    let mut name = next(rest)?.to_owned();
    if take(rest, "WITH") {
        name = format!("{name} WITH {}", next(rest)?);
    }
    Some(ALLOWED.contains(&name.as_str()))
}

fn take(rest: &mut &[&str], token: &str) -> bool {
    let found = rest.first() == Some(&token);
    if found {
        *rest = &rest[1..];
    }
    found
}

fn next<'a>(rest: &mut &[&'a str]) -> Option<&'a str> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn one_side_of_or_is_enough() {
        assert!(is_allowed("MIT"));
        assert!(is_allowed("MIT OR GPL-3.0-only"));
        assert!(is_allowed("MIT/Apache-2.0"));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        assert!(!is_allowed("GPL-3.0-only OR LGPL-2.1-only"));
        assert!(!is_allowed("Apache-2.0 WITH Some-exception"));
    }

    #[test]
    fn both_sides_of_and_are_needed() {
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!is_allowed("MIT AND GPL-3.0-only"));
        assert!(is_allowed("GPL-3.0-only AND MIT OR ISC"));
        assert!(!is_allowed("(ISC OR GPL-3.0-only) AND GPL-3.0-only"));
    }

    #[test]
    fn what_does_not_parse_is_not_allowed() {
        for text in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "OR", "MIT WITH"] {
            assert!(!is_allowed(text), "{text:?}");
        }
    }
}
