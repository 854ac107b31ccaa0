//! What a node's door makes of a client's frame: the real decoding, checks and limits.

use raft_net_tcp::Frame;

use super::{Kv, Ticket};
use crate::api::Response;
use crate::node::inbox::Context;
use crate::node::replica::ReadRequest;
use crate::node::server::answer;
use crate::node::server::door::{Admitted, admit};
use crate::sim::app::{Asked, Letter};
use crate::sim::net::LinkId;
use crate::store::{Limits, Store};
use crate::wire::{self, kind};

pub(super) fn asked(
    limits: &Limits,
    context: &Context<'_, Store>,
    link: LinkId,
    frame: Frame,
) -> Asked<Kv> {
    if frame.kind != kind::REQUEST {
        return Asked::HangUp;
    }
    let ticket = Ticket {
        link,
        request_id: frame.request_id,
    };
    match admit(limits, context.machine.cluster_version(), frame.body) {
        Ok(Admitted::Write(payload)) => Asked::Write(payload, ticket),
        Ok(Admitted::Read {
            asking,
            freshness,
            min_applied,
        }) => Asked::Read(ReadRequest {
            freshness,
            min_applied,
            ticket: (ticket, asking),
        }),
        Ok(Admitted::Status) => Asked::Status(ticket),
        // The simulator's operator has no client.
        Ok(Admitted::Admin(_) | Admitted::Backup { .. }) => Asked::HangUp,
        // Its clients do not watch yet.
        Ok(Admitted::Watch(_) | Admitted::Unwatch { .. }) => Asked::HangUp,
        Err(error) => {
            let response = Response {
                header: answer::header(context),
                body: Err(error),
            };
            Asked::Answer(Letter {
                kind: kind::RESPONSE,
                request_id: frame.request_id,
                body: wire::encode_response(&response, wire::PROTOCOL_MAX),
            })
        }
    }
}
