//! What must hold of the pool at any instant.

use super::pool::{Counted, Pool, State};

impl Pool {
    /// Panics if what is kept incrementally differs from what follows from the workloads: a bug. For tests and the simulator.
    pub fn check(&self) {
        let Counted { held, mut planned, firm, caps } = self.counted();
        assert_eq!(self.held, held, "the held ledger is the sum of what is held");
        assert_eq!(self.firm, firm, "the firm ledger is what isn't being ended");
        assert_eq!(self.cap_held, caps, "caps count what is held");
        for reservation in self.reservations.iter().filter(|reservation| !reservation.charged) {
            let shape = self.shape_of_work(reservation.slot);
            super::pool::plan(&self.tree, &mut planned, shape, &reservation.places, -1, reservation.hold);
        }
        assert_eq!(
            self.planned, planned,
            "the planned ledger is what isn't being ended, and the reservations"
        );
        for (node, state) in self.tenants.iter().enumerate() {
            let Some(state) = state else { continue };
            let of = |wanted: State| {
                let all = self.works.iter().flatten();
                all.filter(|work| self.shape(work.shape).tenant as usize == node && work.state == wanted)
                    .count()
            };
            assert_eq!(state.pending as usize, of(State::Pending), "pending workloads are counted");
            assert_eq!(state.held.len(), of(State::Held), "held workloads are known to their tenant");
        }
        for (slot, work) in self.works.iter().enumerate() {
            let pledged = work.as_ref().is_some_and(|work| {
                let ending = work.units.iter().any(|unit| unit.ending_for.is_some());
                work.state == State::Held && (work.protected || ending)
            });
            assert_eq!(self.pledged.contains(&(slot as u32)), pledged, "who is promised something is listed");
        }
        self.check_lot();
    }
}
