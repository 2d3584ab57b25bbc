use super::*;

#[test]
fn a_change_is_read_as_it_was_recorded() {
    let change = ChangeRecord {
        number: 7,
        attempt: 12,
        state: ChangeState::Copying,
        budget: Duration::from_millis(500),
        epoch: 3,
        sources: vec!["d".to_owned()],
        targets: vec!["d1".to_owned(), "d 2".to_owned()],
        groups: vec![
            ("cities".to_owned(), vec!["list 'a\u{1f} => b' => d1".to_owned(), "list 'c' => d 2".to_owned()]),
            ("accounts".to_owned(), Vec::new()),
        ],
    };
    let mut facts = Facts::default();
    for (name, value) in change.facts() {
        facts.note(Kind::Change, &name, &value);
    }
    facts.note(Kind::Change, "", "source 7 12");
    facts.note(Kind::Change, "8", "of a later release");
    assert_eq!(ChangeRecord::all(&facts), [change]);
}
