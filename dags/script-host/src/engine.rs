//! The Rhai engine: raw, with chosen packages and every limit set.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rhai::{
    Dynamic, Engine, Module,
    packages::{
        ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
        BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package as _,
    },
};

use crate::{modules::Resolver, protocol::Limits};

/// How often the clock is read, in steps.
const CLOCK_STEPS: u64 = 2048;
/// How much printed text is kept, in bytes.
const PRINTED_BYTES_MAX: usize = 64 * 1024;

/// What one request may still use, shared with the engine's callbacks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    deadline: Option<Instant>,
    printed: Vec<String>,
    printed_bytes: usize,
}

impl Meter {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a request.
    pub(crate) fn start(&self, time: Duration) {
        self.with(|state| *state = State { deadline: Instant::now().checked_add(time), ..State::default() });
    }

    /// What the script has printed, once.
    pub(crate) fn take_printed(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.printed))
    }

    fn is_over(&self) -> bool {
        self.with(|state| state.deadline.is_some_and(|deadline| Instant::now() > deadline))
    }

    fn print(&self, text: &str) {
        self.with(|state| {
            let left = PRINTED_BYTES_MAX.saturating_sub(state.printed_bytes);
            if left == 0 {
                return;
            }
            let mut end = text.len().min(left);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            state.printed_bytes += end.max(1);
            state.printed.push(text[..end].to_owned());
        });
    }
}

/// Builds an engine that can do nothing but compute within the limits.
pub(crate) fn build(limits: &Limits, meter: &Meter, resolver: Option<Resolver>) -> Engine {
    let mut engine = Engine::new_raw();
    // Not among them: the language package with `sleep`, the clock, blobs and bit fields.
    let packages: [Arc<Module>; 9] = [
        ArithmeticPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
        BasicIteratorPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicFnPackage::new().as_shared_module(),
    ];
    for package in packages {
        engine.register_global_module(package);
    }
    engine.disable_symbol("eval");
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);

    // These calls don't compile where another crate turns the engine's limits off.
    engine
        .set_max_operations(limits.operations)
        .set_max_call_levels(limits.call_depth)
        .set_max_expr_depths(limits.expression_depth, limits.expression_depth / 2)
        .set_max_string_size(limits.string_bytes)
        .set_max_array_size(limits.array_items)
        .set_max_map_size(limits.map_items)
        .set_max_variables(limits.variables)
        .set_max_functions(limits.functions)
        .set_max_modules(if resolver.is_some() { limits.modules } else { 0 });
    if let Some(resolver) = resolver {
        engine.set_module_resolver(resolver);
    }

    let clock = meter.clone();
    engine.on_progress(move |steps| {
        (steps % CLOCK_STEPS == 0 && clock.is_over()).then(|| Dynamic::from("time".to_owned()))
    });
    let print = meter.clone();
    engine.on_print(move |text| print.print(text));
    let debug = meter.clone();
    engine.on_debug(move |text, _, _| debug.print(text));
    engine
}
