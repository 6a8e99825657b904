//! Values that may be looked into by name but never printed as a whole: `var`, `conn` and what they hold.

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Value,
    value::{Enumerator, Object, ObjectRepr, Serde},
};

/// Plain JSON data as a value of the engine.
pub(crate) fn plain(value: &serde_json::Value) -> Value {
    Value::from(Serde(value))
}

/// Named values that print as `***` and can't be listed.
#[derive(Debug)]
pub(crate) struct Record(BTreeMap<String, Value>);

impl Record {
    /// Wraps every object of `value` down to `levels` below it; deeper ones are plain data.
    pub(crate) fn wrap(value: &serde_json::Value, levels: u32) -> Value {
        match value {
            serde_json::Value::Object(map) => Value::from_object(Self(
                map.iter()
                    .map(|(name, inner)| {
                        let inner = if levels == 0 { plain(inner) } else { Self::wrap(inner, levels - 1) };
                        (name.clone(), inner)
                    })
                    .collect(),
            )),
            other => plain(other),
        }
    }
}

impl Object for Record {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
