//! The endpoints: which are known, which are connected, and what each last said.

use crate::api::LeaderHint;
use crate::client::failure::{EndpointAnswer, EndpointReport};

use super::{ConnectionId, RequestKey, Time};

/// How many addresses a client takes over from what nodes tell it.
const LEARNED_MAX: usize = 64;
/// The longest address that is taken over.
const ADDRESS_BYTES_MAX: usize = 256;

/// An endpoint's place in the list; places never change.
pub(super) type Place = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Down,
    Connecting(ConnectionId),
    Up(ConnectionId),
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) link: Link,
    pub(super) answer: EndpointAnswer,
    /// The question who leads, while it is under way.
    pub(super) probe: Option<u64>,
    /// Requests under way, probes not counted.
    pub(super) in_flight: usize,
    /// When something was last sent or received.
    pub(super) used_at: Time,
    /// Requests for this endpoint alone that wait for the connection.
    pub(super) waiting: Vec<RequestKey>,
}

impl Endpoint {
    fn new(address: String) -> Endpoint {
        Endpoint {
            address,
            link: Link::Down,
            answer: EndpointAnswer::NotAsked,
            probe: None,
            in_flight: 0,
            used_at: Time::ZERO,
            waiting: Vec::new(),
        }
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Up(connection) => Some(connection),
            Link::Down | Link::Connecting(_) => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    learned: usize,
    rotation: usize,
}

impl Endpoints {
    pub(super) fn new(addresses: impl IntoIterator<Item = String>) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for address in addresses {
            endpoints.place_of(&address);
        }
        endpoints
    }

    /// The place of an address that the caller gave.
    pub(super) fn place_of(&mut self, address: &str) -> Place {
        if let Some(place) = self.find(address) {
            return place;
        }
        self.list.push(Endpoint::new(address.to_owned()));
        self.list.len() - 1
    }

    /// Takes over an address that a node told of. True if it is new.
    pub(super) fn learn(&mut self, address: &str) -> bool {
        let fits =
            !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX && self.learned < LEARNED_MAX;
        if !fits || self.find(address).is_some() {
            return false;
        }
        self.learned += 1;
        self.place_of(address);
        true
    }

    pub(super) fn learn_hint(&mut self, leader: Option<&LeaderHint>) -> bool {
        leader.is_some_and(|leader| self.learn(&leader.address))
    }

    fn find(&self, address: &str) -> Option<Place> {
        self.list
            .iter()
            .position(|endpoint| endpoint.address == address)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Endpoint> {
        self.list.get(place)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Endpoint> {
        self.list.get_mut(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.list.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The place whose connection, open or in the making, this is.
    pub(super) fn by_connection(&self, connection: ConnectionId) -> Option<Place> {
        self.list.iter().position(|endpoint| match endpoint.link {
            Link::Up(id) | Link::Connecting(id) => id == connection,
            Link::Down => false,
        })
    }

    pub(super) fn any_up(&self) -> bool {
        self.list
            .iter()
            .any(|endpoint| endpoint.connection().is_some())
    }

    /// The next connected endpoint, each in its turn; one that is known to belong elsewhere is passed over.
    pub(super) fn rotate(&mut self) -> Option<Place> {
        let count = self.list.len();
        let place = (1..=count)
            .map(|step| (self.rotation + step) % count)
            .find(|&place| {
                self.get(place)
                    .is_some_and(|endpoint| endpoint.connection().is_some())
            })?;
        self.rotation = place;
        Some(place)
    }

    pub(super) fn report(&self) -> Vec<EndpointReport> {
        let report = |endpoint: &Endpoint| EndpointReport {
            address: endpoint.address.clone(),
            answer: endpoint.answer.clone(),
        };
        self.list.iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_tell_is_bounded_and_what_the_caller_gives_is_not() {
        let mut endpoints = Endpoints::new(["a:1".to_owned(), "b:1".to_owned(), "a:1".to_owned()]);
        assert_eq!(endpoints.len(), 2);
        assert!(
            !endpoints.learn("a:1") && !endpoints.learn("") && !endpoints.learn(&"x".repeat(257))
        );
        for number in 0..100 {
            endpoints.learn(&format!("c:{number}"));
        }
        assert_eq!(endpoints.len(), 2 + LEARNED_MAX);
        assert_eq!(endpoints.place_of("d:1"), 2 + LEARNED_MAX);
    }

    #[test]
    fn the_rotation_visits_every_connected_endpoint() {
        let mut endpoints = Endpoints::new(["a", "b", "c"].map(str::to_owned));
        assert_eq!(endpoints.rotate(), None);
        endpoints.get_mut(0).unwrap().link = Link::Up(ConnectionId(1));
        endpoints.get_mut(2).unwrap().link = Link::Up(ConnectionId(2));
        let visited: Vec<_> = (0..4).map(|_| endpoints.rotate()).collect();
        assert_eq!(visited, [Some(2), Some(0), Some(2), Some(0)]);
    }
}
