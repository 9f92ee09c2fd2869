//! What addresses that a host makes itself come from: the same after every start, on every core.

use std::fs;
use std::io;

/// Where systemd and D-Bus keep a random number that is the machine's for life.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The machine's number if it has one, which does not show in what is made of it (RFC 7217 §5); else a new one.
pub(super) fn stable_secret() -> io::Result<[u8; 16]> {
    if let Some(id) = MACHINE_ID_FILES.iter().find_map(|file| parse(&fs::read_to_string(file).ok()?)) {
        return Ok(id);
    }
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
    Ok(secret)
}

/// 32 hexadecimal digits.
fn parse(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let is_id = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|number| is_id && *number != 0)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_number_is_32_digits() {
        let id = parse("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!((id[0], id[1], id[15]), (1, 0x23, 0xef));
        for text in [
            "",
            "uninitialized\n",
            "0123",
            "+123456789abcdef0123456789abcdef",
            "00000000000000000000000000000000",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn there_is_one_everywhere() {
        assert_ne!(stable_secret().unwrap(), [0; 16]);
    }
}
