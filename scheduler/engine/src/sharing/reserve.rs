//! Reservations, and what of them is in the planned ledger.

use super::{
    decision::How,
    hosts::At,
    pool::{Pool, Reservation, Reserved, charge, shape_in},
};

impl Pool {
    pub(super) fn remove_reservation(&mut self, slot: u32) {
        let Some(index) = self.reservations.iter().position(|reservation| reservation.slot == slot) else {
            return;
        };
        let reservation = self.reservations.remove(index);
        if reservation.charged {
            let shape = shape_in(&self.shapes, self.work(slot).shape);
            charge(&self.tree, &mut self.planned, shape, &reservation.places, -1);
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
        charge(&self.tree, &mut self.planned, shape, &places, 1);
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
    }

    /// Makes the planned ledger what a workload sees in that mode; for none, what there is with all reservations.
    pub(super) fn view(&mut self, of: Option<(u32, How)>) {
        if self.reservations.is_empty() {
            return;
        }
        let own = of.and_then(|(slot, _)| {
            self.reservations.iter().find(|reservation| reservation.slot == slot).map(Reservation::rank)
        });
        let tenant = of.map(|(slot, _)| self.shape_of_work(slot).tenant);
        for index in 0..self.reservations.len() {
            let other = &self.reservations[index];
            let shape = shape_in(&self.shapes, self.work(other.slot).shape);
            let binds = match of {
                None => true,
                Some((_, how)) => {
                    own.is_none_or(|own| other.rank() < own)
                        && (how == How::Borrow || other.class_g || Some(shape.tenant) == tenant)
                }
            };
            if binds != other.charged {
                charge(&self.tree, &mut self.planned, shape, &other.places, if binds { 1 } else { -1 });
                self.reservations[index].charged = binds;
            }
        }
    }
}
