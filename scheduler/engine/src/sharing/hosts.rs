//! Hosts of the flavors, and placing members on them.

use std::collections::BTreeMap;

use super::{
    shape::Shape,
    spec::{Name, Vector},
    tree::Ledger,
};

/// A member's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) group: u16,
    pub(super) flavor: u16,
    pub(super) host: u32,
}

/// The hosts of one flavor. A host keeps its number when it goes, since something may still be held there.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    pub(super) names: Vec<Name>,
    numbers: BTreeMap<Name, u32>,
    /// Hosts times resources; zero for hosts that are gone.
    pub(super) capacity: Vec<i64>,
    /// Those that are there, by name.
    pub(super) order: Vec<u32>,
    /// The specification, for when resources are numbered anew.
    pub(super) spec: BTreeMap<Name, Vector>,
}

impl Hosts {
    pub(super) fn of(spec: &BTreeMap<Name, Vector>) -> Self {
        Self { spec: spec.clone(), ..Self::default() }
    }

    pub(super) fn number(&mut self, name: &Name) -> u32 {
        *self.numbers.entry(name.clone()).or_insert_with(|| {
            self.names.push(name.clone());
            self.names.len() as u32 - 1
        })
    }

    pub(super) fn index(&mut self, resources: &[Name]) {
        let spec = std::mem::take(&mut self.spec);
        self.order = spec.keys().map(|name| self.number(name)).collect();
        self.capacity = vec![0; self.names.len() * resources.len()];
        for (host, of) in self.order.iter().zip(spec.values()) {
            for (r, name) in resources.iter().enumerate() {
                self.capacity[*host as usize * resources.len() + r] = of.get(name).copied().unwrap_or(0);
            }
        }
        self.spec = spec;
    }

    pub(super) fn is_there(&self, host: u32) -> bool {
        self.spec.contains_key(&self.names[host as usize])
    }
}

/// On which ledgers a placement looks.
pub(super) type Ledgers<'a> = &'a [&'a Ledger];

/// What is free of one resource on a host.
pub(super) fn free(
    hosts: &[Hosts],
    ledgers: Ledgers<'_>,
    flavor: u16,
    host: u32,
    resource: usize,
    resources: usize,
) -> i64 {
    let at = host as usize * resources + resource;
    let used = ledgers.iter().map(|ledger| ledger.hosts[flavor as usize][at]).max().unwrap_or(0);
    hosts[flavor as usize].capacity[at] - used
}

/// The first host in the order with room for a member beside what the same workload took already.
pub(super) fn first_fit(
    hosts: &[Hosts],
    ledgers: Ledgers<'_>,
    flavor: u16,
    request: &[(usize, i64)],
    resources: usize,
    taken: &BTreeMap<(u16, u32, usize), i64>,
    descending: bool,
) -> Option<u32> {
    let fits = |host: &u32| {
        request.iter().all(|(r, amount)| {
            let own = taken.get(&(flavor, *host, *r)).copied().unwrap_or(0);
            free(hosts, ledgers, flavor, *host, *r, resources) - own >= *amount
        })
    };
    let order = &hosts[flavor as usize].order;
    if descending { order.iter().rev().copied().find(fits) } else { order.iter().copied().find(fits) }
}

/// First-fit of all members of a core; none if not all find room.
pub(super) fn place(
    hosts: &[Hosts],
    ledgers: Ledgers<'_>,
    shape: &Shape,
    assignment: &[u16],
    resources: usize,
    descending: bool,
) -> Option<Vec<At>> {
    let mut taken = BTreeMap::new();
    let alone = shape.members == 1;
    let mut places = Vec::with_capacity(shape.members as usize);
    for (group, flavor) in assignment.iter().enumerate() {
        let request = &shape.requests[group];
        for _ in 0..shape.groups[group].count {
            let host = first_fit(hosts, ledgers, *flavor, request, resources, &taken, descending)?;
            if !alone {
                for (r, amount) in request {
                    *taken.entry((*flavor, host, *r)).or_insert(0) += amount;
                }
            }
            places.push(At { group: group as u16, flavor: *flavor, host });
        }
    }
    Some(places)
}
