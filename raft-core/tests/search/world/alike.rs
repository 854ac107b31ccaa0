//! Nodes that are alike: states that differ in which node is which have one representative.

use raft_core::{Exchange, Membership};

use crate::tables::hash_of;

use super::{Bounds, NODES_MAX, NONE, Reduced, State, World};

/// One way to exchange nodes.
pub(super) struct Alike {
    /// Where each node goes.
    places: Vec<usize>,
    exchange: Exchange,
}

/// At most so many ways, doing nothing among them.
const WAYS_MAX: usize = 24;

/// What the ways make of nodes, messages and histories, as far as it was asked for.
#[derive(Default)]
pub(super) struct Images {
    nodes: Vec<[u32; WAYS_MAX]>,
    messages: Vec<[u32; WAYS_MAX]>,
    histories: Vec<[u32; WAYS_MAX]>,
}

fn known(images: &mut Vec<[u32; WAYS_MAX]>, number: u32, way: usize) -> &mut u32 {
    let at = number as usize;
    if at >= images.len() {
        images.resize(at + 1, [NONE; WAYS_MAX]);
    }
    &mut images[at][way]
}

/// All ways but the one that changes nothing. Where memberships change, disks are lost or only some campaign, nodes are not alike.
pub(super) fn all(
    members: &[raft_core::MemberId],
    base: &Membership,
    bounds: &Bounds,
) -> Vec<Alike> {
    let all_vote = members
        .iter()
        .all(|member| base.voters().contains(&member.node) && base.contains(*member));
    let all_campaign = (0..members.len()).all(|node| bounds.campaigners.contains(&node));
    if !all_vote || !all_campaign || !bounds.changes.is_empty() || bounds.wipes.is_some() {
        return Vec::new();
    }
    let mut ways = permutations(members.len());
    ways.retain(|places| !places.iter().copied().eq(0..members.len()));
    let way = |places: Vec<usize>| Alike {
        exchange: Exchange(
            members
                .iter()
                .zip(&places)
                .map(|(&member, &to)| (member, members[to]))
                .collect(),
        ),
        places,
    };
    ways.into_iter().map(way).collect()
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(count - 1) {
        for place in 0..count {
            let mut longer = shorter.clone();
            longer.insert(place, count - 1);
            all.push(longer);
        }
    }
    all
}

impl World {
    /// What the safety properties look at in a state, whichever node is which; and, if asked for, what they would look at if some of those
    /// that lead had stepped down: of a leader they want all that they want of others, and more.
    pub fn sights(&self, state: &State, stepped_down: bool) -> Vec<u64> {
        let leading = (0..self.members.len()).filter(|&at| self.facts(state, at).leads());
        let leading = leading.fold(0, |mask, at| mask | 1_u32 << at);
        let mut masks = vec![leading];
        if stepped_down {
            masks = (0..=leading).filter(|mask| mask & !leading == 0).collect();
        }
        let same = Alike {
            places: (0..self.members.len()).collect(),
            exchange: Exchange(Vec::new()),
        };
        let sight = |leading: u32| {
            let ways = self.alike.iter().chain([&same]);
            let sights = ways.map(|way| {
                let mut nodes = vec![0; self.members.len()];
                for (at, &to) in way.places.iter().enumerate() {
                    let facts = self.facts(state, at);
                    let status = &facts.status;
                    nodes[to] = hash_of(&(
                        (
                            &facts.log,
                            &facts.disk,
                            facts.disk_term,
                            leading & 1 << at != 0,
                        ),
                        (status.term, status.commit, status.applied),
                    ));
                }
                let history = self.history(state).exchanged(&way.exchange, &way.places);
                hash_of(&(nodes, history.without_uses()))
            });
            sights.min().unwrap_or(0)
        };
        masks.into_iter().map(sight).collect()
    }

    /// The one that stands for all states that differ from this one in which node is which: the least of them.
    pub fn representative(&mut self, state: State) -> State {
        let mut least = state;
        if self.reduced != Reduced::No {
            for way in 0..self.alike.len() {
                least = self.lesser(least, &state, way);
            }
        }
        least
    }

    /// The state with its nodes exchanged this way, or `least`, whichever is less.
    fn lesser(&mut self, least: State, state: &State, way: usize) -> State {
        let mut image = State {
            nodes: [NONE; NODES_MAX],
            ..*state
        };
        for at in 0..self.members.len() {
            let to = self.alike[way].places[at];
            image.nodes[to] = self.image_of_node(state.nodes[at], way);
        }
        if image.nodes > least.nodes {
            return least;
        }
        for message in image
            .messages
            .iter_mut()
            .filter(|message| **message != NONE)
        {
            *message = self.image_of_message(*message, way);
        }
        image.messages.sort_unstable();
        image.history = self.image_of_history(state.history, way);
        let order = |state: &State| (state.nodes, state.messages, state.history);
        if order(&image) < order(&least) {
            image
        } else {
            least
        }
    }

    fn image_of_node(&mut self, number: u32, way: usize) -> u32 {
        let known_as = *known(&mut self.images.nodes, number, way);
        if known_as != NONE {
            return known_as;
        }
        let image = self.nodes.get(number).exchanged(&self.alike[way].exchange);
        let image = self.node(image);
        *known(&mut self.images.nodes, number, way) = image;
        image
    }

    fn image_of_message(&mut self, number: u32, way: usize) -> u32 {
        let known_as = *known(&mut self.images.messages, number, way);
        if known_as != NONE {
            return known_as;
        }
        let mut image = self.messages.get(number).clone();
        image.exchange(&self.alike[way].exchange);
        let image = self.number(image);
        *known(&mut self.images.messages, number, way) = image;
        image
    }

    fn image_of_history(&mut self, number: u32, way: usize) -> u32 {
        let known_as = *known(&mut self.images.histories, number, way);
        if known_as != NONE {
            return known_as;
        }
        let Alike { places, exchange } = &self.alike[way];
        let image = self.histories.get(number).exchanged(exchange, places);
        let image = self.histories.number(image, |_| ());
        *known(&mut self.images.histories, number, way) = image;
        image
    }
}
