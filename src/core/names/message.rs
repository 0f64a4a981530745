//! Questions read, answers written.

use hickory_proto::op::{
    Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::{LARGEST_DATAGRAM, LARGEST_QUESTION, TTL, Transport};

/// A question has an OPT record and perhaps a signature behind it. More would be
/// work without an end: each record's name may be a long chain of pointers.
const MOST_EXTRAS: u16 = 2;
/// What every client takes over UDP (RFC 1035).
const SMALLEST_LIMIT: u16 = 512;
/// What upstream may send over UDP: that path is the real world's (RFC 9715).
const UPSTREAM_LIMIT: u16 = 1232;
/// A header, an OPT record without options, and the type and class of a question.
const FIXED: usize = 12 + 11 + 4;
/// Before a record's data, beside the name: type, class, TTL, length.
const RECORD: usize = 10;
/// So many records have a pointer of two bytes for a name; hickory-proto writes it out in
/// full after its 120th.
const POINTERS: usize = 100;

/// What a client asks, as far as it could be read.
pub(super) struct Request {
    metadata: Metadata,
    query: Option<Query>,
    edns: Option<Edns>,
    /// What is wrong with it.
    fault: Option<ResponseCode>,
}

impl Request {
    /// `None` where no answer is due: to a response, and to less than a header.
    pub(super) fn read(message: &[u8]) -> Option<Request> {
        let mut decoder = BinDecoder::new(message);
        let Header { metadata, counts } = Header::read(&mut decoder).ok()?;
        if metadata.message_type == MessageType::Response {
            return None;
        }
        let mut request = Request { metadata, query: None, edns: None, fault: None };
        request.fault = match message.len() {
            0..=LARGEST_QUESTION => request.read_on(&mut decoder, &counts).err(),
            _ => Some(ResponseCode::FormErr),
        };
        Some(request)
    }

    fn read_on(
        &mut self,
        decoder: &mut BinDecoder<'_>,
        counts: &HeaderCounts,
    ) -> Result<(), ResponseCode> {
        if self.metadata.op_code != OpCode::Query {
            return Err(ResponseCode::NotImp);
        }
        // RFC 9619: it is one.
        if counts.queries != 1 {
            return Err(ResponseCode::FormErr);
        }
        let query = Query::read(decoder).map_err(|_| ResponseCode::FormErr)?;
        let transfer = matches!(query.query_type, RecordType::AXFR | RecordType::IXFR);
        let class = query.query_class;
        self.query = Some(query);
        if transfer {
            return Err(ResponseCode::Refused);
        }
        if counts.answers != 0 || counts.authorities != 0 || counts.additionals > MOST_EXTRAS {
            return Err(ResponseCode::FormErr);
        }
        let extras = usize::from(counts.additionals);
        let (_, edns, _) = Message::read_records(decoder, extras, true, OpCode::Query)
            .map_err(|_| ResponseCode::FormErr)?;
        self.edns = edns;
        if self.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
            return Err(ResponseCode::BADVERS);
        }
        if class != DNSClass::IN {
            return Err(ResponseCode::Refused);
        }
        Ok(())
    }

    /// The name and the type that are asked for, or what is wrong.
    pub(super) fn question(&self) -> Result<(&Name, RecordType), ResponseCode> {
        match (&self.query, self.fault) {
            (_, Some(fault)) => Err(fault),
            (Some(query), None) => Ok((query.name(), query.query_type())),
            (None, None) => Err(ResponseCode::FormErr),
        }
    }

    /// How many records with so many bytes of data an answer has room for.
    pub(super) fn room(&self, transport: Transport, data: usize) -> usize {
        let name = self.query.as_ref().map_or(0, |query| query.name().len() + 1);
        let space = self.limit(transport).saturating_sub(FIXED + name);
        let short = space / (2 + RECORD + data);
        if short <= POINTERS {
            return short;
        }
        let rest = space - POINTERS * (2 + RECORD + data);
        POINTERS + rest / (name + RECORD + data)
    }

    /// An answer with these records for the name that was asked for.
    pub(super) fn reply(&self, transport: Transport, data: Vec<RData>) -> Vec<u8> {
        self.reply_with(transport, data, Vec::new())
    }

    /// An answer with these records for the name that was asked for, and with those of
    /// other names, if there is room, that will be asked for next.
    pub(super) fn reply_with(
        &self,
        transport: Transport,
        data: Vec<RData>,
        extras: Vec<Record>,
    ) -> Vec<u8> {
        let mut reply = self.head(ResponseCode::NoError);
        if let Some(query) = &self.query {
            let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
            reply.answers = data.into_iter().map(record).collect();
        }
        let bytes = encode(&reply);
        let limit = self.limit(transport);
        // With names in full and IPv6 addresses.
        let size = |extra: &Record| extra.name.len() + 1 + RECORD + 16;
        if bytes.len() > limit {
            self.truncated()
        } else if extras.is_empty() || bytes.len() + extras.iter().map(size).sum::<usize>() > limit
        {
            bytes
        } else {
            reply.additionals = extras;
            encode(&reply)
        }
    }

    /// An answer without records that tells the client to ask over TCP.
    pub(super) fn truncated(&self) -> Vec<u8> {
        let mut reply = self.head(ResponseCode::NoError);
        reply.metadata.truncation = true;
        encode(&reply)
    }

    /// An answer that says no more than this.
    pub(super) fn refuse(&self, code: ResponseCode) -> Vec<u8> {
        encode(&self.head(code))
    }

    /// The question for an upstream resolver. EDNS is a matter between neighbours
    /// (RFC 6891), so that its options stay here; so do signatures.
    pub(super) fn forwarded(&self) -> Vec<u8> {
        let mut message = Message::new(self.metadata.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.metadata.recursion_desired;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.metadata.authentic_data = self.metadata.authentic_data;
        message.queries.extend(self.query.clone());
        message.edns = self.edns.as_ref().map(|theirs| {
            let mut edns = Edns::new();
            edns.set_max_payload(theirs.max_payload().min(UPSTREAM_LIMIT));
            edns.set_dnssec_ok(theirs.flags().dnssec_ok);
            edns
        });
        encode(&message)
    }

    fn head(&self, code: ResponseCode) -> Message {
        let mut reply = Message::response(self.metadata.id, self.metadata.op_code);
        reply.metadata = Metadata::response_from_request(&self.metadata);
        reply.metadata.response_code = code;
        reply.metadata.recursion_available = true;
        // What we say of the cluster nobody knows better.
        reply.metadata.authoritative =
            matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        reply.queries.extend(self.query.clone());
        reply.edns = self.edns.as_ref().map(|theirs| {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_DATAGRAM);
            // RFC 3225: copied, though nothing is signed here.
            edns.set_dnssec_ok(theirs.flags().dnssec_ok);
            edns
        });
        reply
    }

    /// How long an answer may be, in bytes.
    fn limit(&self, transport: Transport) -> usize {
        let theirs = self.edns.as_ref().map_or(SMALLEST_LIMIT, Edns::max_payload);
        match transport {
            Transport::Datagram(most) => theirs.max(SMALLEST_LIMIT).min(most).into(),
            Transport::Tcp => u16::MAX.into(),
        }
    }
}

/// What cannot be written, which is nothing that we make, is an empty message,
/// which nobody takes for an answer.
fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}
