//! Decisions, lists and explanations agree, whatever the rules are.

use proptest::prelude::*;

use super::*;

fn rule() -> impl Strategy<Value = Rule> {
    let kinds = proptest::sample::subsequence(vec![Kind::Dag, Kind::Run, Kind::Pool], 1..=3);
    let actions = proptest::sample::subsequence(vec![Action::Read, Action::Change], 1..=2);
    let objects = prop_oneof!["[ab*]{1,3}".prop_map(Pattern::Name), "[xy]".prop_map(Pattern::Tag),];
    (any::<bool>(), kinds, actions, objects).prop_map(|(allow, kinds, actions, objects)| Rule {
        effect: if allow { Effect::Allow } else { Effect::Deny },
        kinds: kinds.into_iter().collect(),
        objects,
        actions: actions.into_iter().collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_decision_is_the_list_s_and_has_a_reason(
        rules in proptest::collection::vec(rule(), 0..6),
        name in "[ab]{0,3}",
        tags in proptest::collection::btree_set("[xyz]", 0..2),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let rules = rules.into_iter().map(|rule| Sourced { role: "r".to_owned(), rule }).collect();
        let set = runtime.block_on(RoleSet::new(rules)).unwrap();
        for kind in [Kind::Dag, Kind::Run, Kind::Pool, Kind::Audit] {
            for action in [Action::Read, Action::Change, Action::Delete] {
                let may = set.may(kind, action, &name, &tags);
                let listed = set.visible(kind, action).is_some_and(|visible| visible.covers(&name, &tags));
                prop_assert_eq!(may, listed);
                let reasons = set.reasons(kind, action, &name, &tags);
                let allowed = reasons.iter().any(|reason| reason.rule.effect == Effect::Allow);
                prop_assert_eq!(may, allowed);
            }
        }
    }
}

#[test]
fn built_in_roles_have_names_and_ids() {
    for role in BuiltIn::ALL {
        assert_eq!(BuiltIn::parse(role.name()), Some(role));
        assert_eq!(BuiltIn::of(role.id()), Some(role));
    }
    assert_eq!(BuiltIn::of(RoleId(Uuid::nil())), None);
}

#[tokio::test]
async fn nobody_without_a_role_may_anything() {
    let nobody = RoleSet::new(Vec::new()).await.unwrap();
    for kind in Kind::ALL {
        for action in Action::ALL {
            assert!(!nobody.may(kind, action, "a", &BTreeSet::new()));
        }
    }
}
