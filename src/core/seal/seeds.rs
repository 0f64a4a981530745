//! Random bytes, out of the one seed that comes from outside.

use zeroize::Zeroizing;

use crate::core::cluster::secret::derive;

/// After each 32 bytes the seed steps on and cannot be had back: whoever reads the
/// memory of a host finds no key of a session that is over.
pub(super) struct Seeds(Zeroizing<[u8; 32]>);

impl Seeds {
    /// The seed is random and never used again.
    pub(super) fn new(seed: [u8; 32]) -> Seeds {
        Seeds(Zeroizing::new(seed))
    }

    /// Bytes that nobody else gets.
    pub(super) fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        let drawn = derive(&self.0, "vxmesh data random");
        self.0 = derive(&self.0, "vxmesh data next seed");
        drawn
    }

    /// A number of which all bits are random.
    pub(super) fn number(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.draw();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}
