//! `pod`: what a task asks of its pods, on executors that make some.

use std::collections::BTreeMap;

use super::{Context, object::Object};
use crate::{
    diagnostic::{Draft, code},
    model::{Pod, TaintEffect, Toleration},
    tree::{Kind, Node},
};

/// The keys of `pod`.
pub(crate) const POD_KEYS: &[&str] = &["image", "service_account", "node_selector", "tolerations"];
/// The keys of a toleration.
pub(crate) const TOLERATION_KEYS: &[&str] = &["key", "value", "effect"];

/// The longest reference of an image.
const IMAGE_BYTES_MAX: usize = 512;
/// The longest name of a service account, and prefix of a label.
const DOMAIN_BYTES_MAX: usize = 253;
/// The longest value of a label, and name behind its prefix.
const LABEL_BYTES_MAX: usize = 63;
const LABELS_MAX: usize = 50;
const TOLERATIONS_MAX: usize = 50;

impl Pod {
    /// What this says, else what `defaults` say. Labels of nodes are joined name by name.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let mut node_selector = defaults.node_selector.clone();
        node_selector.extend(self.node_selector);
        let tolerations =
            if self.tolerations.is_empty() { defaults.tolerations.clone() } else { self.tolerations };
        Self {
            image: self.image.or_else(|| defaults.image.clone()),
            service_account: self.service_account.or_else(|| defaults.service_account.clone()),
            node_selector,
            tolerations,
        }
    }
}

impl Context<'_, '_> {
    pub(super) fn pod(&mut self, node: &Node) -> Option<Pod> {
        let object = self.object(node, "`pod`", POD_KEYS)?;
        Some(Pod {
            image: self.pod_text(&object, "image", is_image, "isn't the name of an image"),
            service_account: self.pod_text(
                &object,
                "service_account",
                is_domain,
                "isn't the name of a service account",
            ),
            node_selector: object.get("node_selector").map(|n| self.node_selector(n)).unwrap_or_default(),
            tolerations: object.get("tolerations").map(|n| self.tolerations(n)).unwrap_or_default(),
        })
    }

    fn pod_text(
        &mut self,
        object: &Object<'_>,
        key: &str,
        fits: fn(&str) -> bool,
        why: &str,
    ) -> Option<String> {
        let node = object.get(key)?;
        let text = self.text(node, key)?;
        if !fits(text) {
            self.refused(node, key, format_args!("{why}: `{text}`"));
            return None;
        }
        Some(text.to_owned())
    }

    fn node_selector(&mut self, node: &Node) -> BTreeMap<String, String> {
        let entries = self.pairs(node, "node_selector", "a group of `label: value` pairs");
        if entries.len() > LABELS_MAX {
            self.refused(node, "node_selector", format_args!("may name at most {LABELS_MAX} labels"));
        }
        let mut labels = BTreeMap::new();
        for entry in entries {
            let name = &entry.key.text;
            if !is_label(name) {
                let message = format!("`{name}` can't be the name of a label");
                self.push(Draft::error(code::DAG_NAME, message).at(entry.key.span, "this name"));
            }
            let Some(value) = self.text(&entry.value, name) else { continue };
            if !value.is_empty() && !is_word(value) {
                self.refused(&entry.value, name, format_args!("can't be the value of a label: `{value}`"));
            }
            labels.insert(name.clone(), value.to_owned());
        }
        labels
    }

    fn tolerations(&mut self, node: &Node) -> Vec<Toleration> {
        let Kind::Seq(nodes) = &node.kind else {
            self.expected(node, "tolerations", "a list of `{ key, value, effect }`", None);
            return Vec::new();
        };
        if nodes.len() > TOLERATIONS_MAX {
            self.refused(node, "tolerations", format_args!("may have at most {TOLERATIONS_MAX} entries"));
        }
        nodes.iter().filter_map(|node| self.toleration(node)).collect()
    }

    fn toleration(&mut self, node: &Node) -> Option<Toleration> {
        let object = self.object(node, "a toleration", TOLERATION_KEYS)?;
        if object.get("key").is_none() {
            let message = "a toleration has no `key`";
            let help = "name the taint: a pod that tolerates all of them goes to nodes that nobody may use";
            self.push(
                Draft::error(code::DAG_VALUE, message).at(object.span, "which taint?").help(help.to_owned()),
            );
            return None;
        }
        Some(Toleration {
            key: self.pod_text(&object, "key", is_label, "can't be the key of a taint")?,
            value: self.pod_text(&object, "value", is_word, "can't be the value of a taint"),
            effect: object.get("effect").and_then(|n| self.choice(n, "effect", TaintEffect::ALL)),
        })
    }
}

/// The name of an image with its registry, tag and digest, as far as its letters go: the cluster knows the rest.
fn is_image(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-/:@".contains(&c);
    text.len() <= IMAGE_BYTES_MAX
        && text.bytes().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("..")
}

/// As the name of a host.
fn is_domain(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !part.is_empty() && part.bytes().all(plain) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(part)
}

/// The value of a label.
fn is_word(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// The name of a label or taint, perhaps with a prefix.
fn is_label(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_domain(prefix) && is_word(name),
        None => is_word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for good in ["tasks", "registry.example:5000/team/tasks:1.2_3", "a/b@sha256:0123abcd"] {
            assert!(is_image(good), "{good}");
        }
        for bad in ["", "a b", "/a", "a/", "a/../b", "{{ params.image }}", &"a".repeat(513)] {
            assert!(!is_image(bad), "{bad}");
        }
        for good in ["disk", "kubernetes.io/arch", "a_B.c-9", "x.example/y"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "/x", "x/", "a/b/c", "-a", "a-", "A.example/x", "a b", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
        assert!(is_domain("trainer.v-2") && !is_domain("Trainer") && !is_domain("-a") && !is_domain("a..b"));
    }
}
