//! TAP devices: the fast kind and the plain kind.

use std::io;

/// How a TAP works. A persistent device keeps its kind for life, because the
/// kernel refuses to re-open a multi-queue device as a single-queue one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// virtio headers, super-frames and checksum offload.
    Fast,
    /// One whole frame a call, nothing offloaded (the tun-tap crate).
    Plain,
}

/// An open TAP.
#[derive(Debug)]
pub struct Tap {}

impl Tap {
    /// Opens (and makes, if it does not exist) the TAP of this name in the
    /// calling thread's network namespace. The device is gone when the last
    /// descriptor closes, unless [`Tap::persist`] was called. The reason is a
    /// sentence, if `Fast` works but lacks something (USO on kernels before 6.2).
    pub fn open(name: &str, kind: Kind) -> io::Result<(Tap, Option<String>)> {
        let _ = (name, kind);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether the device outlives its descriptors.
    pub fn persist(&self, yes: bool) -> io::Result<()> {
        let _ = yes;
        Ok(())
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        Kind::Fast
    }
}
