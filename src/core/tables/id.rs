//! Identifiers of networks, endpoints and nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the id of an encrypted network ends, and of no other network.
const ENCRYPTED: [u8; 2] = [0x5e, 0xa1];

/// 32 random bytes as 64 hexadecimal digits, as Docker shows them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    /// An id of the given random bytes.
    pub fn new(random: [u8; 32]) -> Id {
        Id(random.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The id of a network. Its last two bytes say whether that is encrypted: so
    /// nobody can change it, whatever is written about the network later.
    pub fn of_network(random: [u8; 32], encrypted: bool) -> Id {
        let mut bytes = random;
        let ends = bytes[30..] == ENCRYPTED;
        if encrypted {
            bytes[30..].copy_from_slice(&ENCRYPTED);
        } else if ends {
            bytes[31] ^= 1;
        }
        Id::new(bytes)
    }

    /// Whether it is an encrypted network's.
    pub fn is_encrypted(&self) -> bool {
        self.bytes().is_some_and(|bytes| bytes[30..] == ENCRYPTED)
    }

    /// The 32 bytes; `None` if it is no id of ours, as a stored or sent one may be.
    pub fn bytes(&self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        if self.0.len() != 64 || !self.0.is_ascii() {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(self.0.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(bytes)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_network_says_whether_it_is_encrypted() {
        for random in [[0; 32], [0x5e; 32], [0xa1; 32]] {
            let mut marked = random;
            marked[30..].copy_from_slice(&[0x5e, 0xa1]);
            for bytes in [random, marked] {
                for encrypted in [true, false] {
                    let id = Id::of_network(bytes, encrypted);
                    assert_eq!(id.is_encrypted(), encrypted, "{id}");
                    assert_eq!(id.as_str().ends_with("5ea1"), encrypted);
                    assert_eq!(id.bytes().unwrap()[..30], bytes[..30]);
                }
            }
        }
        assert_eq!(Id::of_network([7; 32], false), Id::new([7; 32]));
    }
}
