//! Questions for neighbours that the plan does not know yet.
//!
//! A container may ask for another right after that was attached, before its own host has
//! heard of it. It would ask again a second later (RFC 4861 section 10, RETRANS_TIMER;
//! Linux does the same in ARP), and hold its packet back until then. So the question is
//! kept for that second, and answered by the first plan that can.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::neighbour::{Message, owner};
use super::{Arrival, Switch};
use crate::core::Now;
use crate::core::balance::Notice;
use crate::core::map::{self, Map};
use crate::core::plan::{Plan, Port, PortId, Target};
use crate::wire::frame::View;
use crate::wire::vxlan::Vni;

/// Then whoever asked has asked again, or does no longer want to know.
const KEPT: Duration = Duration::from_secs(1);
/// Of one container. The oldest give way, so that one that asks for a whole subnet
/// takes no room from others.
const EACH: usize = 8;

/// A question without an answer.
#[derive(Debug)]
struct Question {
    vni: Vni,
    view: View,
    message: Message,
    asked: Now,
}

/// Questions without an answer, by who asked.
#[derive(Debug)]
pub(super) struct Waiting {
    questions: Map<PortId, VecDeque<Question>>,
}

impl Waiting {
    pub(super) fn new(seed: u64) -> Waiting {
        Waiting { questions: map::map(seed) }
    }

    /// Keeps a container's question.
    pub(super) fn keep(&mut self, arrival: Arrival, port: &Port, message: &Message) {
        let Arrival { network, view, now, .. } = arrival;
        let questions = self.questions.entry(port.id).or_default();
        questions.retain(|q| q.message.subject != message.subject);
        if questions.len() == EACH {
            questions.pop_front();
        }
        questions.push_back(Question {
            vni: network.vni,
            view: *view,
            message: *message,
            asked: now,
        });
    }
}

impl Switch {
    /// Answers the questions that this plan has an answer to, by [`Switch::notices`].
    pub(super) fn answer_waiting(&mut self, plan: &Plan, now: Now) {
        let mut waiting = mem::take(&mut self.waiting.questions);
        waiting.retain(|id, questions| {
            questions.retain(|question| !self.settle(plan, now, *id, question));
            !questions.is_empty()
        });
        self.waiting.questions = waiting;
    }

    /// Whether a question is done with: answered now, too old, or nobody's any more.
    fn settle(&mut self, plan: &Plan, now: Now, id: PortId, question: &Question) -> bool {
        let Question { vni, view, message, asked } = question;
        let asker = plan.port(id).filter(|(n, port)| n.vni == *vni && port.mac == view.src);
        let Some((network, _)) = asker.filter(|_| now.saturating_sub(*asked) < KEPT) else {
            return true;
        };
        let Some(owner) = owner(network, message.subject) else { return false };
        self.answer(view, message, owner);
        let frame = mem::take(&mut self.reply);
        self.notices.push(Notice { vni: *vni, target: Target::Port(id), frame });
        true
    }
}
