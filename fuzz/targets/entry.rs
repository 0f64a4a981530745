//! An entry as it comes from another host: what verifies still does after a
//! trip over the wire.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::core::cluster::entry::Entry;
use vxmesh::core::cluster::secret::identity::verify;

fuzz_target!(|input: &[u8]| {
    let Ok(entry) = postcard::from_bytes::<Entry>(input) else { return };
    let bytes = postcard::to_stdvec(&entry).expect("it was read");
    let again: Entry = postcard::from_bytes(&bytes).expect("it was written");
    assert_eq!(again, entry);
    assert_eq!(verify(&again), verify(&entry));
});
