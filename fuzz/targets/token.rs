//! A join token as somebody typed it: what is read is what is shown again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::core::cluster::secret::token::Token;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    match Token::parse(text) {
        Ok(token) => assert_eq!(*token.reveal(), text.trim().to_ascii_lowercase()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
