//! The test vectors that others may check their own code with.

use serde::Deserialize;

use super::*;

const FILE: &str = include_str!("../../../../../tests/vectors/sealed.json");

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    suite: String,
    secret: String,
    lane: u8,
    index: String,
    counter: String,
    vni: Option<u32>,
    frame: String,
    key: String,
    datagram: String,
}

impl Vector {
    fn suite(&self) -> Suite {
        *Suite::ALL.iter().find(|suite| suite.name() == self.suite).unwrap()
    }

    fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(unhex(&self.secret).try_into().unwrap())
    }

    fn header(&self) -> Header {
        Header {
            lane: self.lane,
            index: u32::from_str_radix(&self.index, 16).unwrap(),
            counter: u64::from_str_radix(&self.counter, 16).unwrap(),
        }
    }

    fn content(&self) -> Content {
        self.vni.map(|vni| (Vni::new(vni).unwrap(), unhex(&self.frame)))
    }

    fn seal(&self, backend: Backend) -> Vec<u8> {
        let Header { lane, index, counter } = self.header();
        let mut sender = Sender::new(backend, self.suite(), &self.secret(), lane, index).unwrap();
        sender.counter = counter;
        let Some((vni, frame)) = self.content() else { return sender.sign_of_life().unwrap() };
        let mut datagram = [&[0; HEADROOM], &frame[..], &[0; TAG]].concat();
        sender.seal(vni, &mut datagram).unwrap();
        datagram
    }
}

#[test]
fn datagrams_are_as_in_the_vectors() {
    let File { vectors } = serde_json::from_str(FILE).unwrap();
    for (backend, suite) in every() {
        let of_suite: Vec<_> = vectors.iter().filter(|vector| vector.suite() == suite).collect();
        assert!(of_suite.len() >= 5);
        for vector in of_suite {
            let expected = unhex(&vector.datagram);
            assert_eq!(*lane_key(&vector.secret(), vector.lane), *unhex(&vector.key));
            assert_eq!(Header::parse(&expected), Some(vector.header()));
            assert_eq!(vector.seal(backend), expected, "{backend:?} {}", vector.suite);
            let mut receiver = Receiver::new(backend, suite, &vector.secret()).unwrap();
            assert_eq!(open(&mut receiver, &expected), Ok(vector.content()));
        }
    }
}
