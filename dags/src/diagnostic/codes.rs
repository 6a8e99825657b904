//! Every code that a diagnostic can carry, with what it means. Codes are stable: scripts may match on them.

macro_rules! codes {
    ($($name:ident = $text:literal, $doc:literal;)+) => {
        /// The codes by name.
        pub mod code {
            $(#[doc = $doc] pub const $name: &str = $text;)+
        }
        /// Every code with a sentence that explains it.
        pub const CODES: &[(&str, &str)] = &[$(($text, $doc)),+];
    };
}

codes! {
    FILE_UNREADABLE = "file.unreadable", "The file can't be read, isn't UTF-8 or is too large.";
    YAML_SYNTAX = "yaml.syntax", "The text isn't YAML.";
    YAML_TAB = "yaml.tab", "A tab was used where YAML wants blanks.";
    YAML_DUPLICATE_KEY = "yaml.duplicate-key", "A key stands twice in the same map; one of the values would be lost.";
    YAML_AMBIGUOUS = "yaml.ambiguous", "A value that YAML readers understand differently, such as `yes` or `010`.";
    YAML_KEY = "yaml.key", "A key that isn't a simple text.";
    YAML_TAG = "yaml.tag", "A `!tag`; Updraft knows none.";
    YAML_ALIAS = "yaml.alias", "An alias `*name` without an anchor, inside its own anchor, or used beyond the budget.";
    YAML_LIMIT = "yaml.limit", "A file beyond a limit: size, depth, count of documents.";
    DAG_EMPTY = "dag.empty", "The file or the document defines no DAG.";
    DAG_UNKNOWN_KEY = "dag.unknown-key", "A key that has no meaning at this place.";
    DAG_MISSING_KEY = "dag.missing-key", "A key that must be there is missing.";
    DAG_TYPE = "dag.type", "A value of the wrong kind, such as a number where a list is expected.";
    DAG_VALUE = "dag.value", "A value of the right kind that isn't allowed.";
    DAG_NAME = "dag.name", "A name outside of the published grammar.";
    DAG_DUPLICATE = "dag.duplicate", "Two DAGs, tasks, groups or list entries with the same name.";
    DAG_LIMIT = "dag.limit", "A DAG beyond a limit, such as 10,000 tasks.";
    DAG_DURATION = "dag.duration", "A duration that can't be read or has no unit.";
    DAG_SIZE = "dag.size", "A size or amount that can't be read or has no unit.";
    DAG_TIME = "dag.time", "A date or time that can't be read, or an end before its start.";
    DAG_CYCLE = "dag.cycle", "Tasks that wait for each other, so none can start.";
    DAG_UNKNOWN_TASK = "dag.unknown-task", "A reference to a task that the DAG doesn't have.";
    DAG_NOT_UPSTREAM = "dag.not-upstream", "A reference to a result of a task that isn't directly upstream.";
    DAG_OPERATOR = "dag.operator", "A task without an operator, with two, or with one that doesn't exist.";
    DAG_PARAMETER = "dag.parameter", "An operator's parameter that is missing, unknown or of the wrong kind.";
    DAG_BRANCH = "dag.branch", "A branch whose cases can't work.";
    DAG_MAP = "dag.map", "A task or group that can't be mapped this way.";
    DAG_GROUP = "dag.group", "A group that can't be formed this way.";
    DAG_TEARDOWN = "dag.teardown", "A teardown whose setups can't be used this way.";
    DAG_FILE = "dag.file", "A file beside the DAG that is missing, outside of the bundle or can't be read.";
    DAG_PARAM = "dag.param", "A parameter whose JSON Schema is invalid or whose default it refuses.";
    PLUGIN_INVALID = "plugin.invalid", "A plugin beside the DAGs that can't be used; its operator doesn't exist.";
    SCRIPT_UNAVAILABLE = "script.unavailable", "Scripts can't be run here.";
    SCRIPT_INVALID = "script.invalid", "A Rhai script that can't be read, fails, or hands over no DAG.";
    SCRIPT_LIMIT = "script.limit", "A Rhai script that was stopped: too many steps, too much memory, too long.";
    SCHEDULE_CATCHUP = "schedule.catchup", "Airflow's `catchup`, which is written `missed` here.";
    SCHEDULE_INVALID = "schedule.invalid", "A schedule that can't be read, contradicts itself or never fires.";
    SCHEDULE_TIMEZONE = "schedule.timezone", "A time zone that doesn't exist.";
    INSTALLATION_EXECUTOR = "installation.executor", "An executor that the installation hasn't.";
    INSTALLATION_LACKS = "installation.lacks", "A task that needs what its executor can't give: GPUs, a gang, room for it.";
    INSTALLATION_ROUTE = "installation.route", "A notification route whose connection nobody made yet.";
    TEST_EMPTY = "test.empty", "A file of tests that holds none.";
    TEST_FILE = "test.file", "The DAG of a test can't be found, has errors, or isn't in the file that the test names.";
    TEST_VALUE = "test.value", "A value in a test that can't be: what it says doesn't go together or with its DAG.";
    TEMPLATE_SYNTAX = "template.syntax", "A template with unbalanced or unfinished delimiters.";
    TEMPLATE_NAME = "template.name", "A template that uses a name which doesn't exist.";
    TEMPLATE_NOT_RENDERED = "template.not-rendered", "An expression in a field that isn't a template.";
}

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_unique_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, doc) in CODES {
            assert!(seen.insert(code), "{code} twice");
            assert!(code.contains('.') && doc.ends_with('.'), "{code}");
        }
    }
}
