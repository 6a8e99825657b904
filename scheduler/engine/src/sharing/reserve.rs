//! Reservations, and what of them is in the planned ledger.

use super::{
    decision::How,
    hosts::At,
    pool::{Pool, Reservation, Reserved, plan, shape_in},
    tree::Ledger,
};

impl Pool {
    pub(super) fn remove_reservation(&mut self, slot: u32) {
        let Some(index) = self.reservations.iter().position(|reservation| reservation.slot == slot) else {
            return;
        };
        let reservation = self.reservations.remove(index);
        if reservation.charged {
            let shape = shape_in(&self.shapes, self.work(slot).shape);
            plan(&self.tree, &mut self.planned, shape, &reservation.places, -1, reservation.hold);
        }
        let tenant = self.shape_of_work(slot).tenant;
        self.work_mut(slot).reserved = Reserved::No;
        self.loosen(tenant);
    }

    /// Adds a reservation for a pending workload, in place of one that it has.
    pub(super) fn reserve(&mut self, slot: u32, hold: bool, assignment: Vec<u16>, places: Vec<At>) {
        self.leave(slot);
        self.remove_reservation(slot);
        self.created += 1;
        let shape = shape_in(&self.shapes, self.work(slot).shape);
        plan(&self.tree, &mut self.planned, shape, &places, 1, hold);
        let wanted = self.wanted(&shape.key, &assignment);
        let created = self.created;
        self.work_mut(slot).reserved = if hold { Reserved::Hold } else { Reserved::Victims };
        self.reservations.push(Reservation {
            slot,
            hold,
            created,
            assignment,
            wanted,
            places,
            class_g: false,
            charged: true,
        });
        self.enter(slot);
        self.changed += 1;
        let tenant = self.shape_of_work(slot).tenant;
        self.rose(tenant);
    }

    /// Makes the planned ledger what a workload sees in that mode; for none, what there is with all reservations.
    pub(super) fn view(&mut self, of: Option<(u32, How)>) {
        if self.reservations.is_empty() {
            return;
        }
        for index in 0..self.reservations.len() {
            let other = &self.reservations[index];
            let shape = shape_in(&self.shapes, self.work(other.slot).shape);
            let binds = self.binds(other, of);
            if binds != other.charged {
                let sign = if binds { 1 } else { -1 };
                plan(&self.tree, &mut self.planned, shape, &other.places, sign, other.hold);
                self.reservations[index].charged = binds;
            }
        }
    }

    /// Whether a reservation counts for what a workload sees in that mode; for none it does.
    pub(super) fn binds(&self, other: &Reservation, of: Option<(u32, How)>) -> bool {
        let Some((slot, how)) = of else { return true };
        let own = self.reservations.iter().find(|reservation| reservation.slot == slot);
        own.is_none_or(|own| other.rank() < own.rank())
            && (how == How::Borrow
                || other.class_g
                || self.shape_of_work(other.slot).tenant == self.shape_of_work(slot).tenant)
    }

    /// The planned ledger as a workload sees it in that mode; see `view`.
    pub(super) fn seen(&self, of: Option<(u32, How)>) -> Ledger {
        let mut planned = self.planned.clone();
        for other in &self.reservations {
            let binds = self.binds(other, of);
            if binds != other.charged {
                let shape = self.shape_of_work(other.slot);
                plan(&self.tree, &mut planned, shape, &other.places, if binds { 1 } else { -1 }, other.hold);
            }
        }
        planned
    }
}
