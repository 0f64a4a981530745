//! A sealed datagram: a stranger's is refused, a peer's is opened once, and not at
//! all when a bit of it was flipped, between two libraries where both have the cipher.
//!
//! Input: the libraries and the cipher (1 byte), which bit to flip (2 bytes), what
//! the datagram is or carries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::core::drops::Reason;
use vxmesh::core::seal::cipher::{Backend, Suite};
use vxmesh::core::seal::lane::{LANES, Receiver, Sender};
use vxmesh::wire::sealed::{HEADROOM, Header, TAG};
use vxmesh::wire::vxlan::Vni;
use zeroize::Zeroizing;

/// The datagrams among the seeds are sealed with it.
const SECRET: [u8; 32] = [7; 32];
/// Counters of a peer's datagrams that it takes no long to seal again.
const SOON: u64 = 16;

fuzz_target!(|input: &[u8]| {
    let Some(([which, bit @ ..], bytes)) = input.split_first_chunk::<3>() else { return };
    let ends = Ends::of(*which);
    ends.strange(bytes);
    ends.sealed(bytes, u16::from_be_bytes(*bit).into());
});

struct Ends {
    from: Backend,
    to: Backend,
    suite: Suite,
}

impl Ends {
    fn of(which: u8) -> Ends {
        let (from, to, suite) = match which % 3 {
            0 => (Backend::Portable, Backend::Ring, Suite::ChaCha20Poly1305),
            1 => (Backend::Ring, Backend::Portable, Suite::ChaCha20Poly1305),
            _ => (Backend::Ring, Backend::Ring, Suite::Aes256Gcm),
        };
        Ends { from, to, suite }
    }

    fn sender(&self, lane: u8, index: u32) -> Sender {
        let secret = Zeroizing::new(SECRET);
        Sender::new(self.from, self.suite, &secret, lane, index).expect("it has the cipher")
    }

    fn receiver(&self) -> Receiver {
        let secret = Zeroizing::new(SECRET);
        Receiver::new(self.to, self.suite, &secret).expect("it has the cipher")
    }

    /// If it is opened, then it is what a peer would have sealed.
    fn strange(&self, bytes: &[u8]) {
        let mut receiver = self.receiver();
        let Some(header) = Header::parse(bytes) else { return };
        assert_eq!(header.bytes(), bytes[..header.bytes().len()]);
        let mut datagram = bytes.to_vec();
        match receiver.open(&header, &mut datagram) {
            Ok(vni) => {
                assert_eq!(again(&mut receiver, &header, bytes), Err(Reason::SealedReplay));
                if header.counter < SOON {
                    assert_eq!(self.resealed(&header, vni, datagram), bytes);
                }
            }
            Err(Reason::SealedLane) => assert!(header.lane >= LANES),
            Err(Reason::SealedExpired) => assert!(header.counter >= self.suite.reject_after()),
            Err(reason) => assert_eq!(reason, Reason::SealedForged),
        }
    }

    /// What was opened, as the peer sealed it: all but the reserved byte.
    fn resealed(&self, header: &Header, vni: Option<Vni>, mut opened: Vec<u8>) -> Vec<u8> {
        let mut sender = self.sender(header.lane, header.index);
        for _ in 0..header.counter {
            sender.sign_of_life().expect("the key is not used up");
        }
        let Some(vni) = vni else { return sender.sign_of_life().expect("the key is not used up") };
        sender.seal(vni, &mut opened).expect("the key is not used up");
        opened
    }

    /// A frame on its way, unless there is none, and a sign of life.
    fn sealed(&self, frame: &[u8], bit: usize) {
        let (mut sender, mut receiver) = (self.sender(LANES - 1, 9), self.receiver());
        let vni = Vni::new(0x0012_3456).expect("it fits");
        let mut datagram = [&[0; HEADROOM], frame, &[0; TAG]].concat();
        let sealed = sender.seal(vni, &mut datagram);
        if frame.is_empty() {
            assert_eq!((sealed, sender.sealed()), (Err(Reason::Malformed), 0));
        } else {
            assert_eq!(sealed, Ok(()));
            self.travel(&mut receiver, &datagram, bit, Some((vni, frame)));
        }
        let life = sender.sign_of_life().expect("the key is not used up");
        self.travel(&mut receiver, &life, bit, None);
    }

    fn travel(&self, receiver: &mut Receiver, sealed: &[u8], bit: usize, is: Option<(Vni, &[u8])>) {
        let mut flipped = sealed.to_vec();
        let bit = bit % (flipped.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Some(header) = Header::parse(&flipped) {
            assert!(receiver.open(&header, &mut flipped).is_err());
        }
        let header = Header::parse(sealed).expect("a header");
        let mut datagram = sealed.to_vec();
        let vni = receiver.open(&header, &mut datagram).expect("it is good");
        assert_eq!(vni.map(|vni| (vni, &datagram[HEADROOM..datagram.len() - TAG])), is);
        assert_eq!(again(receiver, &header, sealed), Err(Reason::SealedReplay));
    }
}

fn again(receiver: &mut Receiver, header: &Header, sealed: &[u8]) -> Result<Option<Vni>, Reason> {
    receiver.open(header, &mut sealed.to_vec())
}
