//! `groups`: tasks that are shown, limited or mapped as a whole.

use std::collections::BTreeMap;

use super::{Context, GROUP_KEYS, GROUPS_MAX, map::MapDraft};
use crate::{
    diagnostic::{Draft, code},
    ids::GroupId,
    model::Group,
    tree::{ByteRange, Kind, Node},
};

/// A group and what can only be checked when all tasks are known.
pub(super) struct GroupDraft<'n> {
    pub(super) group: Group,
    pub(super) at: ByteRange,
    pub(super) members: Vec<(&'n str, ByteRange)>,
    pub(super) parent: Option<(&'n str, ByteRange)>,
    pub(super) map: Option<MapDraft<'n>>,
}

impl Context<'_, '_> {
    pub(super) fn groups<'n>(&mut self, node: &'n Node) -> Vec<GroupDraft<'n>> {
        let entries = self.pairs(node, "groups", "a group of `name: { tasks: [...] }` pairs");
        if entries.len() > GROUPS_MAX {
            self.push(
                Draft::error(code::DAG_LIMIT, format!("a DAG may have at most {GROUPS_MAX} groups"))
                    .at(node.span, "too many groups"),
            );
            return Vec::new();
        }
        let mut drafts = Vec::new();
        for entry in entries {
            let name = match entry.key.text.parse::<GroupId>() {
                Ok(name) => name,
                Err(error) => {
                    let message = format!("the group name {error}");
                    self.push(Draft::error(code::DAG_NAME, message).at(entry.key.span, "this name"));
                    continue;
                }
            };
            if let Kind::Seq(_) = entry.value.kind {
                let help = format!("write `{name}: {{ tasks: [...] }}`");
                self.expected(
                    &entry.value,
                    &entry.key.text,
                    "`tasks` and perhaps `parent`, `map`, `doc`",
                    Some(help),
                );
                continue;
            }
            let Some(object) = self.object(&entry.value, &format!("group `{name}`"), GROUP_KEYS) else {
                continue;
            };
            let members = match object.get("tasks") {
                Some(tasks) => self.texts(tasks, "tasks", "a list of task names"),
                None => Vec::new(),
            };
            let parent = object.get("parent").and_then(|node| Some((self.text(node, "parent")?, node.span)));
            let map = object.entry("map").and_then(|entry| self.map(entry));
            let doc = object.get("doc").and_then(|node| self.text(node, "doc")).map(str::to_owned);
            let members = members.into_iter().map(|(name, node)| (name, node.span)).collect();
            let group = Group { group_id: name, parent: None, doc, map: None };
            drafts.push(GroupDraft { group, at: entry.key.span, members, parent, map });
        }
        self.parents(&mut drafts);
        drafts
    }

    /// Resolves `parent` and refuses rings and maps within maps.
    fn parents(&mut self, drafts: &mut [GroupDraft<'_>]) {
        let index: BTreeMap<String, usize> =
            drafts.iter().enumerate().map(|(n, draft)| (draft.group.group_id.to_string(), n)).collect();
        let mut up = vec![None; drafts.len()];
        for (n, draft) in drafts.iter_mut().enumerate() {
            let Some((name, at)) = draft.parent else { continue };
            if let Some(parent) = index.get(name) {
                up[n] = Some(*parent);
                draft.group.parent = name.parse().ok();
            } else {
                let help = self.reporter.did_you_mean(name, index.keys().map(String::as_str));
                let message = format!("there is no group `{name}`");
                self.push(Draft::error(code::DAG_GROUP, message).at(at, "unknown group").help(help));
            }
        }
        for n in 0..drafts.len() {
            let mut above = Vec::new();
            let mut next = up[n];
            while let Some(parent) = next {
                if parent == n || above.len() > drafts.len() {
                    break;
                }
                above.push(parent);
                next = up[parent];
            }
            let name = &drafts[n].group.group_id;
            if next == Some(n) {
                let message = format!("group `{name}` is inside of itself");
                let at = drafts[n].parent.map_or(drafts[n].at, |(_, at)| at);
                self.push(Draft::error(code::DAG_GROUP, message).at(at, "this closes the ring"));
                up[n] = None;
            } else if drafts[n].map.is_some()
                && let Some(outer) = above.iter().find(|parent| drafts[**parent].map.is_some())
            {
                let message =
                    format!("group `{name}` is mapped inside of a mapped group, which isn't supported");
                self.push(
                    Draft::error(code::DAG_MAP, message)
                        .at(drafts[n].map.as_ref().map_or(drafts[n].at, |map| map.at), "mapped")
                        .at(drafts[*outer].at, "inside of this mapped group")
                        .help(
                            "map the outer group over the product: `map` takes several variables".to_owned(),
                        ),
                );
            }
        }
    }
}
