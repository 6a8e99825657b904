//! The targets under libFuzzer: guided by coverage, with our mutations beside its own. Built and started by
//! `cargo xtask fuzz`, which says how; the target is named by `UPDRAFT_FUZZ_TARGET`.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use updraft_fuzz::{Target, confine, mutate::Mixer, seeds, targets::Probe, words};

struct Guided {
    probe: Probe,
    mixer: Mixer,
}

static GUIDED: OnceLock<Guided> = OnceLock::new();

fn guided() -> &'static Guided {
    GUIDED.get_or_init(|| {
        let name = std::env::var("UPDRAFT_FUZZ_TARGET").unwrap_or_default();
        let target = Target::named(&name).expect("invariant: UPDRAFT_FUZZ_TARGET names a target");
        let mut limits = target.limits();
        // libFuzzer keeps its corpus in memory as well.
        limits.memory_bytes += 1 << 30;
        confine::limit_memory(&limits).expect("invariant: the memory can be limited");
        let seeds = seeds::read(target).expect("invariant: the seeds can be read");
        Guided { probe: Probe::new(target, false), mixer: Mixer::new(&seeds, words::of(target)) }
    })
}

fuzz_target!(init: { guided(); }, |input: &[u8]| {
    guided().probe.take(String::from_utf8_lossy(input).into_owned());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = fastrand::Rng::with_seed(u64::from(seed));
    if rng.bool() {
        return fuzzer_mutate(data, size, max_size);
    }
    let text = String::from_utf8_lossy(&data[..size]).into_owned();
    let mutated = guided().mixer.step(text, &mut rng);
    let size = mutated.floor_char_boundary(max_size.min(data.len()));
    data[..size].copy_from_slice(&mutated.as_bytes()[..size]);
    size
});
