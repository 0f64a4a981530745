//! Questions that the data plane takes out of frames to a gateway's address.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::Receiver;

use crate::control::state::Control;
use crate::core::names::{Transport, Verdict, gateway};
use crate::core::plan::PortId;
use crate::wire::frame::View;

/// Answers until the data plane ends.
pub(in crate::control) async fn run(
    control: Arc<Control>,
    mut questions: Receiver<(PortId, Vec<u8>)>,
) {
    let mut waiting = FuturesUnordered::new();
    loop {
        let question = tokio::select! {
            // No more than the askers' shares of the way upstream.
            Some(answered) = waiting.next() => {
                let (port, view, answer): (PortId, View, Vec<u8>) = answered;
                reply(&control, port, &view, &answer);
                continue;
            }
            question = questions.recv() => question,
        };
        let Some((port, frame)) = question else { return };
        let Ok(view) = View::parse(&frame) else { continue };
        let service = control.names.service.clone();
        let (asker, transport) = match control.names.endpoint_at(port) {
            Some((asker, mtu)) => (asker, Transport::Datagram(gateway::room(&view, mtu))),
            None => continue, // it was detached meanwhile
        };
        match service.decide(&asker, transport, gateway::message(&frame, &view)) {
            Verdict::Answer(answer) => reply(&control, port, &view, &answer),
            Verdict::Forward(question) => waiting.push(async move {
                let answer = match service.begin(asker, question) {
                    Ok(pending) => pending.forward(transport).await,
                    Err(refusal) => refusal,
                };
                (port, view, answer)
            }),
            Verdict::Drop => {}
        }
    }
}

fn reply(control: &Control, port: PortId, view: &View, answer: &[u8]) {
    if let Some(frame) = gateway::answer(view, answer) {
        control.dataplane.answer(port, frame);
    }
}
