//! Sealing and opening, with each cipher of each library, by the clock only: which
//! instructions they take depends on the processor that they find.

use std::hint::black_box;

use vxmesh::core::seal::cipher::{Backend, Suite};
use vxmesh::core::seal::lane::{Receiver, Sender};
use vxmesh::wire::sealed::{HEADROOM, Header, TAG};
use vxmesh::wire::vxlan::Vni;
use zeroize::Zeroizing;

use crate::subjects::{Subject, Work};

use Backend::{Portable, Ring};
use Suite::{Aes256Gcm as Aes, ChaCha20Poly1305 as ChaCha};

/// Datagrams that are opened one after the other, before it begins anew.
const TRAIN: usize = 256;

const fn subject(name: &'static str, bytes: u64, prepare: fn() -> Work) -> Subject {
    Subject { name, frames: 1, bytes, prepare }
}

/// All of them; `bytes` are those of the frame.
pub(crate) const SUBJECTS: &[Subject] = &[
    subject("seal/chacha-portable-64", 64, || seal(Portable, ChaCha, 64)),
    subject("seal/chacha-portable-1450", 1_450, || seal(Portable, ChaCha, 1_450)),
    subject("seal/chacha-ring-64", 64, || seal(Ring, ChaCha, 64)),
    subject("seal/chacha-ring-1450", 1_450, || seal(Ring, ChaCha, 1_450)),
    subject("seal/aes-ring-64", 64, || seal(Ring, Aes, 64)),
    subject("seal/aes-ring-1450", 1_450, || seal(Ring, Aes, 1_450)),
    subject("open/chacha-portable-64", 64, || open(Portable, ChaCha, 64)),
    subject("open/chacha-portable-1450", 1_450, || open(Portable, ChaCha, 1_450)),
    subject("open/chacha-ring-64", 64, || open(Ring, ChaCha, 64)),
    subject("open/chacha-ring-1450", 1_450, || open(Ring, ChaCha, 1_450)),
    subject("open/aes-ring-64", 64, || open(Ring, Aes, 64)),
    subject("open/aes-ring-1450", 1_450, || open(Ring, Aes, 1_450)),
];

fn sender(backend: Backend, suite: Suite) -> Sender {
    Sender::new(backend, suite, &Zeroizing::new([1; 32]), 0, 7).expect("a cipher that it has")
}

fn receiver(backend: Backend, suite: Suite) -> Receiver {
    Receiver::new(backend, suite, &Zeroizing::new([1; 32])).expect("a cipher that it has")
}

fn network() -> Vni {
    Vni::new(4_096).expect("a VNI")
}

/// A datagram with room for the header and the tag around the frame.
fn datagram(frame: usize) -> Vec<u8> {
    (0..HEADROOM + frame + TAG).map(|i| i as u8).collect()
}

fn seal(backend: Backend, suite: Suite, frame: usize) -> Work {
    let (mut sender, mut datagram) = (sender(backend, suite), datagram(frame));
    Box::new(move || {
        sender.seal(network(), black_box(&mut datagram)).expect("the key is not used up");
    })
}

/// With the copy that keeps the sealed datagram for the next round, and a new lane
/// every [`TRAIN`] datagrams.
fn open(backend: Backend, suite: Suite, frame: usize) -> Work {
    let mut sender = sender(backend, suite);
    let sealed: Vec<Vec<u8>> = (0..TRAIN)
        .map(|_| {
            let mut datagram = datagram(frame);
            sender.seal(network(), &mut datagram).expect("the key is not used up");
            datagram
        })
        .collect();
    let (mut receiver, mut at, mut place) = (self::receiver(backend, suite), 0, datagram(frame));
    Box::new(move || {
        if at == TRAIN {
            (receiver, at) = (self::receiver(backend, suite), 0);
        }
        place.copy_from_slice(&sealed[at]);
        let header = Header::parse(&place).expect("a sealed datagram");
        let vni = receiver.open(&header, black_box(&mut place));
        assert_eq!(vni, Ok(Some(network())));
        at += 1;
    })
}
