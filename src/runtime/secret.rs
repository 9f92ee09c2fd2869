//! Secrets that all cores have in common: what addresses that a host makes itself come from, which is the same after every
//! start, and one of this start alone.

use std::fs;
use std::io;

use hayase_stack::Config;

/// Where systemd and D-Bus keep a random number that is the machine's for life.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Chooses the secrets of a runtime's stacks, where the program has not.
pub(super) fn settle_secrets(config: &mut Config) -> io::Result<()> {
    if config.stable_secret.is_none() {
        config.stable_secret = Some(stable_secret()?);
    }
    if config.shared_secret.is_none() {
        // Everybody on the machine can read its number, and whoever has a copy of it has the same (RFC 7413 §4.1.2).
        config.shared_secret = Some(random()?);
    }
    Ok(())
}

/// The machine's number if it has one, which does not show in what is made of it (RFC 7217 §5); else a new one.
fn stable_secret() -> io::Result<[u8; 16]> {
    match MACHINE_ID_FILES.iter().find_map(|file| parse(&fs::read_to_string(file).ok()?)) {
        Some(id) => Ok(id),
        None => random(),
    }
}

fn random() -> io::Result<[u8; 16]> {
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

    #[test]
    fn two_runtimes_share_no_secret_but_the_number_of_the_machine() {
        let settled = |mut config: Config| {
            settle_secrets(&mut config).unwrap();
            (config.stable_secret.unwrap(), config.shared_secret.unwrap())
        };
        let (one, other) = (settled(Config::default()), settled(Config::default()));
        assert_ne!(one.1, other.1);
        assert!(![one.0, other.0, [0; 16]].contains(&one.1), "nothing that can be read somewhere");
        let mut chosen = Config::default();
        (chosen.stable_secret, chosen.shared_secret) = (Some([1; 16]), Some([2; 16]));
        assert_eq!(settled(chosen), ([1; 16], [2; 16]));
    }
}
