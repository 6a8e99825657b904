//! `resources`: what an attempt needs.

use std::collections::BTreeMap;

use super::Context;
use crate::{
    amount,
    diagnostic::{Draft, code},
    model::{Gpu, Resources},
    tree::{Kind, Node},
};

/// The keys of `resources`.
pub(crate) const RESOURCE_KEYS: &[&str] = &["cpu", "memory", "gpu", "custom"];
/// The keys of `gpu`.
pub(crate) const GPU_KEYS: &[&str] = &["count", "model"];
const GPUS_MAX: u32 = 1_024;

impl Context<'_, '_> {
    pub(super) fn resources(&mut self, node: &Node) -> Option<Resources> {
        let object = self.object(node, "`resources`", RESOURCE_KEYS)?;
        let cpu_milli = object.get("cpu").and_then(|cpu| self.amount(cpu, "cpu", amount::cpu_milli));
        let memory_bytes =
            object.get("memory").and_then(|memory| self.amount(memory, "memory", amount::bytes));
        let gpu = object.get("gpu").and_then(|gpu| self.gpu(gpu));
        let mut custom = BTreeMap::new();
        if let Some(node) = object.get("custom") {
            for entry in self.pairs(node, "custom", "a group of `name: count` pairs") {
                if let Some(count) = self.whole(&entry.value, &entry.key.text, 1, i64::from(u32::MAX)) {
                    custom.insert(entry.key.text.clone(), count as u64);
                }
            }
        }
        let (cpu_milli, memory_bytes) = (cpu_milli.unwrap_or(0), memory_bytes.unwrap_or(0));
        Some(Resources { cpu_milli, memory_bytes, gpu, custom })
    }

    fn gpu(&mut self, node: &Node) -> Option<Gpu> {
        match &node.kind {
            Kind::Int(_) => self.count(node, "gpu", 1, GPUS_MAX).map(|count| Gpu { count, model: None }),
            Kind::Map(_) => {
                let object = self.object(node, "`gpu`", GPU_KEYS)?;
                let model =
                    object.get("model").and_then(|model| self.text(model, "model")).map(str::to_owned);
                let count = match object.get("count") {
                    Some(count) => self.count(count, "count", 1, GPUS_MAX)?,
                    None => 1,
                };
                Some(Gpu { count, model })
            }
            Kind::Str(text) => {
                let help = format!("write `{{ count: 1, model: {text} }}`");
                let message = format!("`gpu`: expected a count, found {}", node.describe());
                self.push(Draft::error(code::DAG_TYPE, message).at(node.span, "expected a count").help(help));
                None
            }
            Kind::Null | Kind::Bool(_) | Kind::Float(_) | Kind::Seq(_) => {
                self.expected(node, "gpu", "a count or `{ count, model }`", None);
                None
            }
        }
    }
}
