//! Calico's selector language (`libcalico-go/lib/selector`), which pools and BGP peers choose nodes with.
//!
//! ```text
//! expression = all-of { "||" all-of }            all-of = operation { "&&" operation }
//! operation  = { "!" } ( "(" expression ")" | "all()" | "global()" | "has(" label ")" | label test )
//! test       = ("==" | "!=" | "contains" | "starts with" | "ends with") value | ("in" | "not in") "{" [ values ] "}"
//! ```
//!
//! `&&` binds tighter than `||`. Blanks (space and tab, no other) may stand between any two words and are needed
//! nowhere; between `has`, `all`, `global` and their parenthesis there is none. A value stands in `'` or `"`, there is
//! no escape. A set may be empty and may end in a comma.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::Labels;

/// Parentheses deeper than this are refused: the parser recurses, and a hostile text must not exhaust the stack.
const MAX_DEPTH: usize = 100;

/// A selector, read once and matched often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Expression);

/// Why a text is no selector. Never fatal: what the selector decides is then unknown (J23).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position}: expected {expected}")]
pub struct SelectorError {
    /// Offset in bytes of the first thing that makes no sense.
    pub position: usize,
    /// What would have made sense there.
    pub expected: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    All,
    /// `global()`: about policies of namespaces; of labels it says nothing and so is true of all of them.
    Global,
    Has(String),
    Test(String, Test),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equal(String),
    NotEqual(String),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
}

impl Selector {
    /// Reads a selector. The empty text is `all()`, as for Calico's own parser.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let mut parser = Parser { text, position: 0 };
        parser.blanks();
        if parser.rest().is_empty() {
            return Ok(Selector(Expression::All));
        }
        let expression = parser.any_of(0)?;
        match parser.rest().is_empty() {
            true => Ok(Selector(expression)),
            false => Err(parser.expected("`&&`, `||` or the end")),
        }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.matches(labels)
    }

    /// Whether it asks for a label for which this holds.
    pub fn asks_for(&self, label: &impl Fn(&str) -> bool) -> bool {
        self.0.asks_for(label)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        Selector::parse(text)
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        match self {
            Expression::All | Expression::Global => true,
            Expression::Has(label) => labels.get(label).is_some(),
            Expression::Test(label, test) => test.holds(labels.get(label)),
            Expression::Not(operand) => !operand.matches(labels),
            Expression::And(operands) => operands.iter().all(|operand| operand.matches(labels)),
            Expression::Or(operands) => operands.iter().any(|operand| operand.matches(labels)),
        }
    }

    fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Expression::All | Expression::Global => false,
            Expression::Has(label) | Expression::Test(label, _) => is_meant(label),
            Expression::Not(operand) => operand.asks_for(is_meant),
            Expression::And(operands) | Expression::Or(operands) => operands.iter().any(|it| it.asks_for(is_meant)),
        }
    }

    /// The negation; twice is not at all, so that what is displayed reads back as the same expression.
    fn negated(self) -> Expression {
        match self {
            Expression::Not(operand) => *operand,
            other => Expression::Not(Box::new(other)),
        }
    }
}

impl Test {
    /// An absent label passes the negative tests and no other.
    fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else {
            return matches!(self, Test::NotEqual(_) | Test::NotIn(_));
        };
        match self {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Contains(part) => value.contains(part.as_str()),
            Test::StartsWith(part) => value.starts_with(part.as_str()),
            Test::EndsWith(part) => value.ends_with(part.as_str()),
            Test::In(set) => set.contains(value),
            Test::NotIn(set) => !set.contains(value),
        }
    }
}

/// Recursive descent over the text itself: every byte is looked at a bounded number of times.
struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError { position: self.position, expected }
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    /// Takes the word, and the blanks behind it, if it comes next.
    fn eat(&mut self, word: &str) -> bool {
        let next = self.rest().starts_with(word);
        if next {
            self.position += word.len();
            self.blanks();
        }
        next
    }

    fn require(&mut self, word: &str, expected: &'static str) -> Result<(), SelectorError> {
        if self.eat(word) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn any_of(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let first = self.all_of(depth)?;
        let mut operands = Vec::new();
        while self.eat("||") {
            operands.push(self.all_of(depth)?);
        }
        Ok(joined(first, operands, Expression::Or))
    }

    fn all_of(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let first = self.operation(depth)?;
        let mut operands = Vec::new();
        while self.eat("&&") {
            operands.push(self.operation(depth)?);
        }
        Ok(joined(first, operands, Expression::And))
    }

    fn operation(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut negate = false;
        while self.eat("!") {
            negate = !negate;
        }
        let operand = if self.rest().starts_with('(') {
            if depth >= MAX_DEPTH {
                return Err(self.expected("fewer nested parentheses"));
            }
            self.eat("(");
            let inner = self.any_of(depth + 1)?;
            self.require(")", "`)`, `&&` or `||`")?;
            inner
        } else if self.eat("all(") {
            self.require(")", "`)`")?;
            Expression::All
        } else if self.eat("global(") {
            self.require(")", "`)`")?;
            Expression::Global
        } else if self.eat("has(") {
            let label = self.label("a label's name")?;
            self.require(")", "`)`")?;
            Expression::Has(label)
        } else {
            let label = self.label("a label's name, `has(`, `all()`, `global()`, `!` or `(`")?;
            Expression::Test(label, self.test()?)
        };
        Ok(if negate { operand.negated() } else { operand })
    }

    fn label(&mut self, expected: &'static str) -> Result<String, SelectorError> {
        let rest = self.rest();
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
        let length = rest.bytes().take_while(|byte| named(*byte)).count();
        let Some(label) = rest.get(..length).filter(|label| !label.is_empty()) else {
            return Err(self.expected(expected));
        };
        self.position += length;
        self.blanks();
        Ok(label.to_owned())
    }

    fn test(&mut self) -> Result<Test, SelectorError> {
        if self.eat("==") {
            self.value().map(Test::Equal)
        } else if self.eat("!=") {
            self.value().map(Test::NotEqual)
        } else if self.eat("contains") {
            self.value().map(Test::Contains)
        } else if self.eat("starts") {
            self.require("with", "`with`")?;
            self.value().map(Test::StartsWith)
        } else if self.eat("ends") {
            self.require("with", "`with`")?;
            self.value().map(Test::EndsWith)
        } else if self.eat("not") {
            self.require("in", "`in`")?;
            self.set().map(Test::NotIn)
        } else if self.eat("in") {
            self.set().map(Test::In)
        } else {
            Err(self.expected("`==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`"))
        }
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        let start = self.rest();
        let Some(quote) = start.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
            return Err(self.expected("a value in quotes"));
        };
        let Some((value, _)) = start.get(1..).and_then(|rest| rest.split_once(quote)) else {
            return Err(self.expected("a value whose quote is closed"));
        };
        self.position += value.len() + 2;
        self.blanks();
        Ok(value.to_owned())
    }

    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        self.require("{", "`{`")?;
        let mut values = BTreeSet::new();
        while self.rest().starts_with(['\'', '"']) {
            values.insert(self.value()?);
            if !self.eat(",") {
                break;
            }
        }
        self.require("}", if values.is_empty() { "a value in quotes or `}`" } else { "`,` or `}`" })?;
        Ok(values)
    }
}

/// One operand stands for itself.
fn joined(
    first: Expression,
    mut more: Vec<Expression>,
    join: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    if more.is_empty() {
        return first;
    }
    more.insert(0, first);
    join(more)
}

/// As Calico writes it: fully parenthesized, and reading back as the same selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::All => f.write_str("all()"),
            Expression::Global => f.write_str("global()"),
            Expression::Has(label) => write!(f, "has({label})"),
            Expression::Test(label, test) => write!(f, "{label} {test}"),
            Expression::Not(operand) => write!(f, "!{operand}"),
            Expression::And(operands) => write!(f, "({})", List(operands, " && ")),
            Expression::Or(operands) => write!(f, "({})", List(operands, " || ")),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Equal(value) => write!(f, "== {}", Quoted(value)),
            Test::NotEqual(value) => write!(f, "!= {}", Quoted(value)),
            Test::Contains(value) => write!(f, "contains {}", Quoted(value)),
            Test::StartsWith(value) => write!(f, "starts with {}", Quoted(value)),
            Test::EndsWith(value) => write!(f, "ends with {}", Quoted(value)),
            Test::In(set) => write!(f, "in {{{}}}", List(set.iter().map(|value| Quoted(value)), ", ")),
            Test::NotIn(set) => write!(f, "not in {{{}}}", List(set.iter().map(|value| Quoted(value)), ", ")),
        }
    }
}

/// Items with something between them.
struct List<I>(I, &'static str);

impl<I: IntoIterator<Item: fmt::Display> + Clone> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.clone().into_iter().enumerate() {
            if index > 0 {
                f.write_str(self.1)?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

/// A value in the quotes that it does not contain; it came out of quotes, so it lacks one of the two.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
