//! The test vectors that others may check their own code with.

use serde::Deserialize;

use super::super::gate::{Cookie, RingKey};
use super::super::noise::{
    Hello, INITIATION, Initiator, MAC, Message, Pair, RESPONSE, Reply, Responder, Stamp,
};
use super::*;

const FILE: &str = include_str!("../../../../tests/vectors/handshake.json");

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    initiator: String,
    responder: String,
    ring_key: String,
    ring_number: u32,
    seeds: [String; 2],
    indices: [String; 2],
    generation: u64,
    count: u64,
    suites: [Vec<u8>; 2],
    suite: u8,
    translated: bool,
    initiation: String,
    cookie: String,
    nonce: String,
    cookie_message: String,
    initiation_with_mac2: String,
    response: String,
    keys: [String; 2],
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
}

fn key(text: &str) -> [u8; 32] {
    unhex(text).try_into().unwrap()
}

fn suite(number: u8) -> Option<Suite> {
    Suite::ALL.iter().copied().find(|suite| *suite as u8 == number)
}

impl Vector {
    fn index(&self, which: usize) -> u32 {
        u32::from_str_radix(&self.indices[which], 16).unwrap()
    }

    fn hello(&self) -> Hello {
        let stamp = Stamp { generation: self.generation, count: self.count };
        Hello { stamp, suites: self.suites[0].iter().filter_map(|n| suite(*n)).collect() }
    }

    fn reply(&self) -> Reply {
        let suites = self.suites[1].iter().filter_map(|n| suite(*n)).collect();
        Reply { suite: suite(self.suite), translated: self.translated, suites }
    }
}

#[test]
fn handshakes_are_as_in_the_vectors() {
    let File { vectors } = serde_json::from_str(FILE).unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let pair = |text| Pair::new(Zeroizing::new(key(text)));
        let (ours, theirs) = (pair(&vector.initiator), pair(&vector.responder));
        let ring = RingKey::new(&Secret(key(&vector.ring_key)));
        let seeds = vector.seeds.each_ref().map(|seed| key(seed));
        let numbers = (vector.ring_number, vector.index(0));

        let made =
            Initiator::new(&ours, &theirs.public, &ring.psk, &seeds[0], numbers, &vector.hello());
        let (mut initiator, mut initiation) = made.unwrap();
        ring.sign(&theirs.public, &mut initiation, INITIATION - 2 * MAC);
        assert_eq!(initiation, unhex(&vector.initiation));
        let Some(Message::Initiation { ring: number, index, noise }) = Message::parse(&initiation)
        else {
            panic!("it is one");
        };
        assert_eq!((number, index), numbers);
        let responder = Responder::read(&theirs, &ring.psk, &seeds[1], noise).unwrap();
        assert_eq!((responder.peer, &responder.hello), (ours.public, &vector.hello()));

        let (message, split) =
            responder.answer(vector.index(0), vector.index(1), &vector.reply()).unwrap();
        let mut response = message;
        ring.sign(&ours.public, &mut response, RESPONSE - MAC);
        assert_eq!(response, unhex(&vector.response));
        let Some(Message::Response { receiver, index, noise }) = Message::parse(&response) else {
            panic!("it is one");
        };
        assert_eq!((receiver, index), (vector.index(0), vector.index(1)));
        let (reply, own) = initiator.read(noise).unwrap();
        assert_eq!(reply, vector.reply());
        let keys = vector.keys.each_ref().map(|text| key(text));
        assert_eq!([*own.sending, *own.receiving], keys);
        assert_eq!([*split.receiving, *split.sending], keys);

        let cookie: [u8; MAC] = unhex(&vector.cookie).try_into().unwrap();
        let mac1 = initiation[INITIATION - 2 * MAC..][..MAC].to_vec();
        let told = ring.tell(&unhex(&vector.nonce), &mac1, vector.index(0).to_be_bytes(), cookie);
        assert_eq!(told, unhex(&vector.cookie_message));
        let Some(Message::Cookie { receiver, nonce, sealed }) = Message::parse(&told) else {
            panic!("it is one");
        };
        assert_eq!(receiver, vector.index(0));
        let opened: Cookie = ring.open(nonce, &mac1, sealed).unwrap();
        assert_eq!(*opened.0, cookie);
        opened.sign(&mut initiation);
        assert_eq!(initiation, unhex(&vector.initiation_with_mac2));
    }
}
