//! Flows on their way from one daemon to the next.
//!
//! Bytes: a format number, then a record for each flow, with ages instead of
//! instants. A record that cannot be read ends the list.

use super::flow::Saved;

/// The form of what follows; another one is not read.
const FORMAT: u8 = 1;

/// Appends a flow.
pub(super) fn write(out: &mut Vec<u8>, flow: &Saved) {
    if out.is_empty() {
        out.push(FORMAT);
    }
    // Into memory, of numbers and addresses: there is nothing that could fail.
    if let Ok(record) = postcard::to_stdvec(flow) {
        out.extend_from_slice(&record);
    }
}

/// All flows up to the first that cannot be read, and whether that was the end.
pub(super) fn read(bytes: &[u8]) -> (Vec<Saved>, bool) {
    let mut flows = Vec::new();
    let Some((format, mut rest)) = bytes.split_first() else { return (flows, true) };
    if *format != FORMAT {
        return (flows, false);
    }
    while !rest.is_empty() {
        let Ok((flow, after)) = postcard::take_from_bytes(rest) else { return (flows, false) };
        flows.push(flow);
        rest = after;
    }
    (flows, true)
}
