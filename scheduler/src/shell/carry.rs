//! Between the driver and the executors: handing over, ending, confirming, asking what they hold.

use std::sync::PoisonError;

use engine::{
    dispatch::{Dispatch, News, Report},
    driver::Input,
};
use executor::Executor as _;
use futures::StreamExt as _;

use super::{DISPATCHES_AT_ONCE, Shell};
use crate::{
    clock,
    errands::Event,
    executors::Kind,
    facts::Facts,
    hand_over::{hand_over, held, not_started},
    keeper,
    wait::Wait,
};

impl<F: Facts> Shell<F> {
    pub(super) fn dispatch(&mut self, mut dispatches: Vec<Dispatch>) {
        let (admitted, meter) = (self.admitted, self.hand_overs.clone());
        if let Some(fleet) = &mut self.fleet {
            let all = dispatches.len();
            dispatches = fleet.dispatch(dispatches);
            let now = clock::now();
            (dispatches.len()..all).for_each(|_| meter.handed_over(admitted, now));
        }
        let now = self.driver.engine().now();
        let begin = |dispatch: Dispatch| Some((self.under_way.begin(dispatch.id, now)?, dispatch));
        let dispatches: Vec<_> = dispatches.into_iter().filter_map(begin).collect();
        {
            let mut holders = self.holders();
            for (_, dispatch) in &dispatches {
                for member in 0..dispatch.members {
                    holders.insert((dispatch.id, member), dispatch.executor.clone());
                }
            }
        }
        let (desk, executors, events) = (self.desk.clone(), self.executors.clone(), self.events.clone());
        let under_way = self.under_way.clone();
        self.start(async move {
            futures::stream::iter(dispatches)
                .for_each_concurrent(DISPATCHES_AT_ONCE, |(called_off, dispatch)| {
                    let (desk, executors, events, under_way) = (&desk, &executors, &events, &under_way);
                    let meter = &meter;
                    async move {
                        let failed = hand_over(desk, executors, &dispatch, &called_off).await.err();
                        meter.handed_over(admitted, clock::now());
                        if let Some(reason) = failed {
                            let held = held(executors, &dispatch).await;
                            let missing = (0..dispatch.members).filter(|member| !held.contains(member));
                            let end = || News::Ended(not_started(reason.clone()));
                            let reports = missing
                                .map(|member| Report::new(dispatch.id, member, u32::MAX, end()))
                                .collect();
                            drop(events.send(Event::Input(Input::Reports(reports))).await);
                        }
                        under_way.end(dispatch.id);
                    }
                })
                .await;
        });
    }

    pub(super) fn kill(&self, kills: Vec<engine::dispatch::Kill>) {
        for kill in &kills {
            self.under_way.call_off(kill.id);
        }
        let executors = self.executors.clone();
        self.start(async move {
            for kill in kills {
                let Some(executor) = executors.get(&kill.executor) else {
                    tracing::warn!(executor = %kill.executor, attempt = %kill.id.attempt, dispatch = %kill.id, "an executor that isn't there can't end a dispatch");
                    continue;
                };
                let mut wait = Wait::new();
                while let Err(error) = executor.kill(kill.clone()).await {
                    tracing::warn!(%error, attempt = %kill.id.attempt, dispatch = %kill.id, "failed to end a dispatch; trying again");
                    wait.pass().await;
                }
            }
        });
    }

    pub(super) fn confirm(&mut self, receipts: &[engine::driver::Receipt]) {
        let mut receipts = receipts.to_vec();
        if let Some(fleet) = &mut self.fleet {
            receipts = fleet.settle(receipts);
        }
        let ended: Vec<_> = receipts.iter().filter(|receipt| receipt.ended).copied().collect();
        if ended.is_empty() {
            return;
        }
        let mut work = Vec::with_capacity(ended.len());
        {
            let mut holders = self.holders();
            for receipt in ended {
                let holder = holders.remove(&(receipt.dispatch, receipt.member));
                work.push((receipt, holder));
            }
        }
        let (executors, objects) = (self.executors.clone(), self.desk.objects.clone());
        self.start(async move {
            futures::stream::iter(work)
                .for_each_concurrent(4, |(receipt, holder)| {
                    let (executors, objects) = (&executors, &objects);
                    async move {
                        let holder = holder.and_then(|name| executors.get(&name));
                        keeper::keep(executors, holder, objects, receipt).await;
                    }
                })
                .await;
        });
    }

    /// Asks every executor what it holds, and tells the engine.
    pub(super) fn look_around(&self) {
        // What is on its way may arrive after the executor has answered.
        let oldest = self.under_way.oldest();
        let now = self.driver.engine().now();
        let as_of = oldest.map_or(now, |oldest| oldest.min(now));
        for (name, executor) in self.executors.iter() {
            // Workers say by themselves what they hold.
            if matches!(executor, Kind::Noop(_) | Kind::Fleet(_)) {
                continue;
            }
            let (name, executor) = (name.clone(), executor.clone());
            let (events, holders) = (self.events.clone(), self.holders.clone());
            self.start(async move {
                match executor.list().await {
                    Ok(held) => {
                        {
                            let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
                            // What has ended may be confirmed by now; nobody would take it out again.
                            for held in held.iter().filter(|held| !held.ended) {
                                holders.entry((held.id, held.member)).or_insert_with(|| name.clone());
                            }
                        }
                        let input = Input::Holdings { executor: name, held, as_of };
                        drop(events.send(Event::Input(input)).await);
                    }
                    Err(error) => {
                        tracing::warn!(executor = %name, %error, "an executor doesn't say what it holds");
                    }
                }
            });
        }
    }
}
