//! Which ciphers this host offers to others: what its processor has instructions
//! for, and is faster at.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::control::config::Cipher;
use crate::control::error::Error;
use crate::core::seal::Offer;
use crate::core::seal::cipher::{Aead, Backend, Suite};
use crate::wire::sealed;

/// The library of the daemon: both ciphers, in assembler.
const BACKEND: Backend = Backend::Ring;
/// What is sealed to see how fast that is: the frame of a full underlay packet.
const FRAME: usize = 1450;
/// Seals in a row, of which there are several rows; the fastest counts, as a row may
/// be interrupted. All of it takes a few milliseconds.
const ROW: u32 = 100;
const ROWS: usize = 8;

/// The ciphers that are offered, and how long each takes for a full packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Ability {
    /// The one that is liked best first.
    pub(in crate::control) ciphers: Vec<(Suite, Duration)>,
}

impl Ability {
    /// What this host can do, within what its administrator wants.
    pub(in crate::control) fn find(wanted: Cipher) -> Result<Ability, Error> {
        choose(wanted, has_aes(), pace)
    }

    /// As the data plane wants it.
    pub(in crate::control) fn offer(&self) -> Offer {
        Offer { suites: self.ciphers.iter().map(|(suite, _)| *suite).collect(), backend: BACKEND }
    }
}

/// For the log.
impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (suite, pace)) in self.ciphers.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({} ns)", suite.name(), pace.as_nanos())?;
        }
        Ok(())
    }
}

fn choose(wanted: Cipher, aes: bool, pace: impl Fn(Suite) -> Duration) -> Result<Ability, Error> {
    let suites = match wanted {
        Cipher::Auto if aes => vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
        Cipher::Auto | Cipher::ChaCha20Poly1305 => vec![Suite::ChaCha20Poly1305],
        Cipher::Aes256Gcm if aes => vec![Suite::Aes256Gcm],
        Cipher::Aes256Gcm => {
            return Err(Error::invalid(
                "--cipher aes-256-gcm needs a processor with AES instructions, and this one has none: use auto or chacha20-poly1305",
            ));
        }
    };
    let mut ciphers: Vec<_> = suites.into_iter().map(|suite| (suite, pace(suite))).collect();
    ciphers.sort_by_key(|(_, pace)| *pace);
    Ok(Ability { ciphers })
}

/// Whether AES-GCM has instructions of its own here: rounds, and the product of GHASH.
/// Without them it is slow, or tells its key by its timing.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// How long sealing a full packet takes.
fn pace(suite: Suite) -> Duration {
    let Some(make) = BACKEND.maker(suite) else { return Duration::MAX };
    // The key of nobody: nothing that is sealed with it leaves this function.
    let key = make(&Zeroizing::new([0; 32]));
    (0..ROWS).map(|_| row(&*key)).min().unwrap_or(Duration::MAX) / ROW
}

fn row(key: &dyn Aead) -> Duration {
    let mut frame = vec![0; FRAME];
    let start = Instant::now();
    for number in 0..ROW {
        black_box(key.seal(number.into(), &[0; sealed::HEADER], black_box(&mut frame)));
    }
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AES: Suite = Suite::Aes256Gcm;
    const CHACHA: Suite = Suite::ChaCha20Poly1305;

    fn chosen(wanted: Cipher, aes: bool, faster: Suite) -> Result<Vec<Suite>, Error> {
        let pace = |suite| Duration::from_nanos(if suite == faster { 300 } else { 700 });
        let ability = choose(wanted, aes, pace)?;
        assert_eq!(ability.offer().backend, Backend::Ring);
        assert!(ability.to_string().starts_with(ability.ciphers[0].0.name()), "{ability}");
        Ok(ability.offer().suites)
    }

    #[test]
    fn the_faster_cipher_is_liked_best() {
        assert_eq!(chosen(Cipher::Auto, true, AES).unwrap(), [AES, CHACHA]);
        assert_eq!(chosen(Cipher::Auto, true, CHACHA).unwrap(), [CHACHA, AES]);
        assert_eq!(chosen(Cipher::Auto, false, AES).unwrap(), [CHACHA], "not in software");
    }

    #[test]
    fn an_administrator_may_want_one_only() {
        for faster in [AES, CHACHA] {
            assert_eq!(chosen(Cipher::ChaCha20Poly1305, true, faster).unwrap(), [CHACHA]);
            assert_eq!(chosen(Cipher::Aes256Gcm, true, faster).unwrap(), [AES]);
        }
        let refused = chosen(Cipher::Aes256Gcm, false, AES).unwrap_err().to_string();
        assert!(refused.contains("needs a processor with AES instructions"), "{refused}");
    }

    #[test]
    fn this_host_is_measured_in_no_time() {
        let ability = Ability::find(Cipher::Auto).unwrap();
        // A few milliseconds with optimisation, but for when this process had to wait.
        let took: Duration = ability.ciphers.iter().map(|(_, pace)| *pace * ROW).sum();
        assert!(took * (ROWS as u32) < Duration::from_millis(200), "{took:?} for a row of each");
        assert!(ability.offer().suites.contains(&CHACHA));
        assert!(ability.ciphers.is_sorted_by_key(|(_, pace)| *pace));
        for (suite, pace) in ability.ciphers {
            assert!((20..100_000).contains(&pace.as_nanos()), "{suite:?} {pace:?}");
        }
    }
}
