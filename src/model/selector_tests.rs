use proptest::prelude::*;

use super::*;

fn labels(text: &str) -> Labels {
    text.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect()
}

#[test]
fn what_is_selected() {
    #[rustfmt::skip]
    let table: &[(&str, &str, bool)] = &[
        // selector, labels, selected
        ("", "", true),
        (" \t ", "a=b", true),
        ("all()", "", true),
        ("all( )", "", true),
        ("!all()", "a=b", false),
        ("global()", "", true),
        ("!global()", "", false),
        ("has(a)", "a=", true),
        ("has( a )", "a=b", true),
        ("has(a)", "b=a", false),
        ("!has(a)", "b=a", true),
        ("!has(a)", "a=b", false),
        ("has(projectcalico.org/rack_1-x)", "projectcalico.org/rack_1-x=1", true),
        ("a == 'b'", "a=b", true),
        ("a == \"b\"", "a=b", true),
        ("a=='b'", "a=b", true),
        ("a\t==\t'b'", "a=b", true),
        ("a == 'b'", "a=c", false),
        ("a == 'b'", "", false),
        ("a == ''", "a=", true),
        ("a == ''", "", false),
        ("a == 'B'", "a=b", false),
        ("a != 'b'", "a=c", true),
        ("a != 'b'", "a=b", false),
        ("a != 'b'", "", true),
        ("!(a != 'b')", "", false),
        ("! a == 'b'", "a=b", false),
        ("! a == 'b' && has(c)", "c=1", true),
        ("a in {'b', \"c\"}", "a=c", true),
        ("a in {'b','c',}", "a=c", true),
        ("a in{'b'}", "a=b", true),
        ("a in {'b'}", "a=c", false),
        ("a in {'b'}", "", false),
        ("a in {}", "a=b", false),
        ("a not in {}", "a=b", true),
        ("a not in {'b'}", "a=b", false),
        ("a not in {'b'}", "a=c", true),
        ("a not in {'b'}", "", true),
        ("a notin {'b'}", "a=b", false),
        ("a not \t in {'b'}", "a=b", false),
        ("a contains 'ell'", "a=hello", true),
        ("a contains 'elf'", "a=hello", false),
        ("a contains ''", "a=hello", true),
        ("a contains ''", "", false),
        ("a contains'ell'", "a=hello", true),
        ("a starts with 'he'", "a=hello", true),
        ("a starts with 'lo'", "a=hello", false),
        ("a startswith 'he'", "a=hello", true),
        ("a starts with ''", "", false),
        ("a ends with 'lo'", "a=hello", true),
        ("a ends with 'he'", "a=hello", false),
        ("a ends  with 'lo'", "", false),
        ("all == '1'", "all=1", true),
        ("has == '1'", "has=1", true),
        ("in in {'in'}", "in=in", true),
        ("contains contains 'x'", "contains=x", true),
        ("a == 'it\"s'", "a=it\"s", true),
        ("a == \"it's\"", "a=it's", true),
        ("a == 'ü||&&)('", "a=ü||&&)(", true),
        ("!!has(a)", "a=1", true),
        ("!!!has(a)", "a=1", false),
        ("! !has(a)", "a=1", true),
        // `&&` first, then `||`.
        ("has(a) || has(b) && has(c)", "a=1", true),
        ("has(a) && has(b) || has(c)", "c=1", true),
        ("(has(a) || has(b)) && has(c)", "a=1", false),
        ("(has(a) || has(b)) && has(c)", "b=1 c=1", true),
        ("has(a)||has(b)||has(c)", "c=1", true),
        ("has(a)&&has(b)&&has(c)", "a=1 b=1", false),
        ("!(has(a) && has(b))", "a=1", true),
        ("! (has(a) || has(b))", "b=1", false),
        ("((((has(a)))))", "a=1", true),
        ("route-reflector == 'true'", "route-reflector=true", true),
        ("zone in {'a'} && !(rack starts with \"r1\" || rack ends with '9')", "zone=a rack=r2", true),
    ];
    for (text, has, wanted) in table {
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.matches(&labels(has)), *wanted, "{text} of {has}");
        let shown = selector.to_string();
        assert_eq!(shown.parse::<Selector>().as_ref(), Ok(&selector), "{text} shown as {shown}");
    }
}

#[test]
fn what_cannot_be_read() {
    #[rustfmt::skip]
    let table: &[(&str, usize)] = &[
        // text, where it stops making sense
        ("a", 1), ("a ==", 4), ("a = 'b'", 2), ("a == b", 5), ("a == 'b", 5), ("a == 'b\"", 5), ("== 'b'", 0), ("a === 'b'", 4),
        ("a == 'b' &", 9), ("a == 'b' & has(c)", 9), ("a == 'b' | has(c)", 9), ("a == 'b' &&", 11), ("|| has(a)", 0),
        ("a == 'b' has(c)", 9), ("a == 'b' 'c'", 9), ("has(a", 5), ("has()", 4), ("has (a)", 4), ("has('a')", 4), ("has(a b)", 6),
        ("all", 3), ("all(", 4), ("all(a)", 4), ("all ()", 4), ("global(1)", 7), ("global", 6),
        ("(has(a)", 7), ("has(a))", 6), ("()", 1), ("!", 1), ("!= 'a'", 1), ("a ! = 'b'", 2),
        ("a in", 4), ("a in 'b'", 5), ("a in {b}", 6), ("a in {'b'", 9), ("a in {'b' 'c'}", 10), ("a in {,}", 6), ("a in {'b',,}", 10),
        ("a not {'b'}", 6), ("a not has(b)", 6), ("a starts 'b'", 9), ("a ends 'b'", 7), ("a like 'b'", 2), ("a IN {'b'}", 2),
        ("has(a)\n", 6), ("a\n== 'b'", 1), ("ä == 'b'", 0), ("a == ‘b’", 5), ("a@b == 'c'", 1), ("\0", 0),
    ];
    for (text, position) in table {
        let error = Selector::parse(text).expect_err(text);
        assert_eq!(error.position, *position, "{text}: {error}");
        assert!(!error.expected.is_empty());
    }
    let error = Selector::parse("rack = 'r1'").expect_err("one =");
    assert_eq!(
        error.to_string(),
        "at byte 5: expected `==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`"
    );
}

#[test]
fn depth_and_length_are_no_danger() {
    let nested = |depth: usize| format!("{}has(a){}", "(".repeat(depth), ")".repeat(depth));
    assert!(Selector::parse(&nested(MAX_DEPTH)).is_ok());
    for depth in [MAX_DEPTH + 1, 1_000_000] {
        let error = Selector::parse(&nested(depth)).expect_err("too deep");
        assert_eq!(error, SelectorError { position: MAX_DEPTH, expected: "fewer nested parentheses" });
    }
    assert!(Selector::parse(&"!(".repeat(500_000)).is_err());
    assert!(Selector::parse(&"(".repeat(500_000)).is_err());
    // Long without being deep is legitimate, and linear.
    let negated = Selector::parse(&format!("{}has(a)", "!".repeat(1_000_001))).unwrap();
    assert!(negated.matches(&labels("")));
    let long = vec!["has(b) || a == 'x' && a != 'y'"; 50_000].join(" || ");
    assert!(Selector::parse(&long).unwrap().matches(&labels("a=x")));
    let set = (0..100_000).map(|index| format!("'{index}'")).collect::<Vec<_>>().join(",");
    assert!(Selector::parse(&format!("a in {{{set}}}")).unwrap().matches(&labels("a=99999")));
}

#[test]
fn shown_as_calico_shows_it() {
    let selector = Selector::parse("! a=='b'&&(has(c)||d not in {'z',\"y'\"})").unwrap();
    assert_eq!(selector.to_string(), "(!a == \"b\" && (has(c) || d not in {\"y'\", \"z\"}))");
    assert_eq!(Selector::parse("!(!(has(a)))").unwrap().to_string(), "has(a)");
}

fn expression() -> impl Strategy<Value = Expression> {
    let label = "[a-zA-Z0-9_./-]{1,8}";
    let value = prop_oneof!["[^'\"]{0,6}", "[^']{0,6}", "[^\"]{0,6}"];
    let set = prop::collection::btree_set(value.clone(), 0..4);
    let test = prop_oneof![
        value.clone().prop_map(Test::Equal),
        value.clone().prop_map(Test::NotEqual),
        value.clone().prop_map(Test::Contains),
        value.clone().prop_map(Test::StartsWith),
        value.prop_map(Test::EndsWith),
        set.clone().prop_map(Test::In),
        set.prop_map(Test::NotIn),
    ];
    let leaf = prop_oneof![
        Just(Expression::All),
        Just(Expression::Global),
        label.prop_map(Expression::Has),
        (label, test).prop_map(|(label, test)| Expression::Test(label, test)),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Expression::negated),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::And),
            prop::collection::vec(inner, 2..4).prop_map(Expression::Or),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(expression in expression()) {
        let selector = Selector(expression);
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn anything_is_read_or_refused(text in any::<String>(), labels in prop::collection::btree_map("[ab]", "[xy]?", 0..3)) {
        if let Ok(selector) = Selector::parse(&text) {
            selector.matches(&labels.into_iter().collect());
        }
    }

    #[test]
    fn pieces_of_the_language_in_any_order(pieces in prop::collection::vec(prop::sample::select(vec![
        "a", " ", "==", "!=", "'x'", "\"", "'", "(", ")", "has(", "all(", "global()", "!", "&&", "||", "in", "not", "{",
        "}", ",", "contains", "starts", "ends", "with", "=", "&", "é",
    ]), 0..14)) {
        let text = pieces.concat();
        match Selector::parse(&text) {
            Ok(selector) => prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector)),
            Err(error) => {
                prop_assert!(text.is_char_boundary(error.position));
            }
        }
    }
}
