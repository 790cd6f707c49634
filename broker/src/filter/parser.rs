//! Reading expressions: recursive descent, one function for each level of binding.

use super::expression::{
    Binary, Call, Expression, Fold, FoldKind, Function, Literal, Node, Variable,
};
use super::lexer::{Fault, Token, TokenKind, tokens};
use super::{FilterError, functions};

/// Deepest nesting of brackets, signs and choices: reading them goes as deep.
const NESTING_MAX: usize = 24;
/// Words that CEL keeps for itself or for languages that embed it.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "true",
    "false",
];

/// Reads an expression.
pub(super) fn parse(source: &str) -> Result<Expression, FilterError> {
    let read = || {
        let mut parser = Parser {
            tokens: tokens(source)?,
            place: 0,
            nesting: 0,
            locals: Vec::new(),
        };
        let root = parser.expression()?;
        parser.expect_end()?;
        Ok(root)
    };
    read().map_err(|fault: Fault| FilterError {
        message: fault.message,
        position: source
            .get(..fault.start)
            .map(|before| before.chars().count() + 1),
    })
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    place: usize,
    nesting: usize,
    /// Names of the variables of macros, outermost first.
    locals: Vec<&'a str>,
}

type Read<T> = Result<T, Fault>;

impl<'a> Parser<'a> {
    fn start(&self) -> usize {
        self.tokens.get(self.place).map_or(0, |token| token.start)
    }

    fn peek(&self) -> &TokenKind<'a> {
        const END: &TokenKind<'static> = &TokenKind::End;
        self.tokens.get(self.place).map_or(END, |token| &token.kind)
    }

    fn next(&mut self) -> TokenKind<'a> {
        let kind = self.peek().clone();
        self.place += 1;
        kind
    }

    fn is_at(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(found) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is_at = self.is_at(symbol);
        self.place += usize::from(is_at);
        is_at
    }

    fn expect(&mut self, symbol: &str) -> Read<()> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(self.fault(format!("{symbol:?} is expected here, not {}", self.found()))),
        }
    }

    fn expect_end(&self) -> Read<()> {
        match self.peek() {
            TokenKind::End => Ok(()),
            _ => Err(self.fault(format!("the end is expected here, not {}", self.found()))),
        }
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.start(), message)
    }

    fn found(&self) -> String {
        match self.peek() {
            TokenKind::Int(_) | TokenKind::Uint(_) | TokenKind::Double(_) => "a number".to_owned(),
            TokenKind::Text(_) | TokenKind::Bytes(_) => "a string".to_owned(),
            TokenKind::Name(name) => format!("{name:?}"),
            TokenKind::Symbol(symbol) => format!("{symbol:?}"),
            TokenKind::End => "the end".to_owned(),
        }
    }

    fn node(&self, start: usize, node: Node) -> Read<Expression> {
        Expression::new(node).map_err(|error| Fault::new(start, error.message))
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.nesting == NESTING_MAX {
            let message = format!("the expression is nested deeper than {NESTING_MAX} levels");
            return Err(self.fault(message));
        }
        self.nesting += 1;
        let read = read(self);
        self.nesting -= 1;
        read
    }

    fn expression(&mut self) -> Read<Expression> {
        self.nested(|it| {
            let start = it.start();
            let condition = it.any()?;
            if !it.take("?") {
                return Ok(condition);
            }
            let yes = it.any()?;
            it.expect(":")?;
            let no = it.expression()?;
            it.node(start, Node::Choice(Box::new([condition, yes, no])))
        })
    }

    fn any(&mut self) -> Read<Expression> {
        self.chain("||", Self::all, Node::Or)
    }

    fn all(&mut self) -> Read<Expression> {
        self.chain("&&", Self::relation, Node::And)
    }

    fn chain(
        &mut self,
        symbol: &str,
        part: fn(&mut Self) -> Read<Expression>,
        join: fn(Vec<Expression>) -> Node,
    ) -> Read<Expression> {
        let start = self.start();
        let first = part(self)?;
        if !self.is_at(symbol) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(symbol) {
            parts.push(part(self)?);
        }
        self.node(start, join(parts))
    }

    fn relation(&mut self) -> Read<Expression> {
        self.binary(Self::sum, |kind| {
            Some(match kind {
                TokenKind::Symbol("==") => Binary::Equal,
                TokenKind::Symbol("!=") => Binary::NotEqual,
                TokenKind::Symbol("<") => Binary::Less,
                TokenKind::Symbol("<=") => Binary::LessEqual,
                TokenKind::Symbol(">") => Binary::Greater,
                TokenKind::Symbol(">=") => Binary::GreaterEqual,
                TokenKind::Name("in") => Binary::In,
                _ => return None,
            })
        })
    }

    fn sum(&mut self) -> Read<Expression> {
        self.binary(Self::product, |kind| {
            Some(match kind {
                TokenKind::Symbol("+") => Binary::Add,
                TokenKind::Symbol("-") => Binary::Subtract,
                _ => return None,
            })
        })
    }

    fn product(&mut self) -> Read<Expression> {
        self.binary(Self::unary, |kind| {
            Some(match kind {
                TokenKind::Symbol("*") => Binary::Multiply,
                TokenKind::Symbol("/") => Binary::Divide,
                TokenKind::Symbol("%") => Binary::Remainder,
                _ => return None,
            })
        })
    }

    fn binary(
        &mut self,
        part: fn(&mut Self) -> Read<Expression>,
        operator: fn(&TokenKind<'a>) -> Option<Binary>,
    ) -> Read<Expression> {
        let mut left = part(self)?;
        while let Some(operator) = operator(self.peek()) {
            let start = self.start();
            self.place += 1;
            let right = part(self)?;
            let node = Node::Binary(operator, Box::new(left), Box::new(right));
            left = self.node(start, node)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Read<Expression> {
        let start = self.start();
        if self.take("!") {
            let of = self.nested(Self::unary)?;
            return self.node(start, Node::Not(Box::new(of)));
        }
        if !self.take("-") {
            return self.member();
        }
        let node = match *self.peek() {
            TokenKind::Int(value) => {
                self.place += 1;
                let value = 0_i64.checked_sub_unsigned(value);
                let value = value.ok_or_else(|| Fault::new(start, "the number is too low"))?;
                let literal = self.node(start, Node::Literal(Literal::Int(value)))?;
                return self.members(literal);
            }
            TokenKind::Double(value) => {
                self.place += 1;
                let literal = self.node(start, Node::Literal(Literal::Double(-value)))?;
                return self.members(literal);
            }
            _ => Node::Negate(Box::new(self.nested(Self::unary)?)),
        };
        self.node(start, node)
    }

    fn member(&mut self) -> Read<Expression> {
        let primary = self.primary()?;
        self.members(primary)
    }

    /// What is selected from a value, or called on it.
    fn members(&mut self, of: Expression) -> Read<Expression> {
        let mut of = of;
        loop {
            let start = self.start();
            let node = if self.take("[") {
                let index = self.expression()?;
                self.expect("]")?;
                Node::Index(Box::new(of), Box::new(index))
            } else if self.take(".") {
                let at = self.start();
                let name = self.name()?;
                match self.take("(") {
                    true => {
                        of = self.call_on(at, name, of)?;
                        continue;
                    }
                    false => Node::Select(Box::new(of), name.into()),
                }
            } else {
                return Ok(of);
            };
            of = self.node(start, node)?;
        }
    }

    fn name(&mut self) -> Read<&'a str> {
        match *self.peek() {
            TokenKind::Name(name) => {
                self.place += 1;
                Ok(name)
            }
            _ => Err(self.fault(format!("a name is expected here, not {}", self.found()))),
        }
    }

    fn primary(&mut self) -> Read<Expression> {
        let start = self.start();
        let node = match self.next() {
            TokenKind::Symbol("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            TokenKind::Symbol("[") => Node::List(self.list("]", Self::expression)?),
            TokenKind::Symbol("{") => Node::Map(self.list("}", Self::entry)?),
            TokenKind::Int(value) => {
                let value = i64::try_from(value);
                let too_high = |_| Fault::new(start, "the number is too high");
                Node::Literal(Literal::Int(value.map_err(too_high)?))
            }
            TokenKind::Uint(value) => Node::Literal(Literal::Uint(value)),
            TokenKind::Double(value) => Node::Literal(Literal::Double(value)),
            TokenKind::Text(text) => Node::Literal(Literal::Text(text.into())),
            TokenKind::Bytes(bytes) => Node::Literal(Literal::Bytes(bytes.into())),
            TokenKind::Name("true") => Node::Literal(Literal::Bool(true)),
            TokenKind::Name("false") => Node::Literal(Literal::Bool(false)),
            TokenKind::Name("null") => Node::Literal(Literal::Null),
            TokenKind::Name(name) => return self.named(start, name),
            TokenKind::Symbol(_) | TokenKind::End => {
                self.place -= 1;
                let message = format!("a value is expected here, not {}", self.found());
                return Err(self.fault(message));
            }
        };
        self.node(start, node)
    }

    fn entry(&mut self) -> Read<(Expression, Expression)> {
        let key = self.expression()?;
        self.expect(":")?;
        Ok((key, self.expression()?))
    }

    /// Parts with commas in between, and perhaps one behind, up to a symbol.
    fn list<T>(&mut self, end: &str, part: fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut parts = Vec::new();
        while !self.take(end) {
            parts.push(part(self)?);
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(parts)
    }

    /// A variable, or the call of a function.
    fn named(&mut self, start: usize, name: &'a str) -> Read<Expression> {
        if self.take("(") {
            return self.call(start, name);
        }
        if RESERVED.contains(&name) {
            return Err(Fault::new(start, format!("{name:?} is a reserved word")));
        }
        let local = self.locals.iter().rposition(|local| *local == name);
        let node = match (local, Variable::named(name)) {
            (Some(place), _) => Node::Local(place),
            (None, Some(variable)) => Node::Variable(variable),
            (None, None) => {
                let known = Variable::names();
                let message = format!("there is no variable {name:?}: there are {known}");
                return Err(Fault::new(start, message));
            }
        };
        self.node(start, node)
    }

    fn call(&mut self, start: usize, name: &str) -> Read<Expression> {
        let arguments = self.list(")", Self::expression)?;
        if name == "has" {
            return match <[Expression; 1]>::try_from(arguments) {
                Ok(
                    [
                        Expression {
                            node: Node::Select(of, field),
                            ..
                        },
                    ],
                ) => self.node(start, Node::Has(of, field)),
                _ => Err(Fault::new(
                    start,
                    "has() asks for a field, as in has(json.total)",
                )),
            };
        }
        self.function(start, name, Call::Global, arguments)
    }

    fn call_on(&mut self, start: usize, name: &str, of: Expression) -> Read<Expression> {
        let fold = match name {
            "all" => FoldKind::All,
            "exists" => FoldKind::Exists,
            "exists_one" | "existsOne" => FoldKind::ExistsOne,
            "map" => FoldKind::Map,
            "filter" => FoldKind::Filter,
            _ => {
                let mut arguments = vec![of];
                arguments.extend(self.list(")", Self::expression)?);
                return self.function(start, name, Call::OnValue, arguments);
            }
        };
        self.fold(start, fold, of)
    }

    fn function(
        &self,
        start: usize,
        name: &str,
        call: Call,
        arguments: Vec<Expression>,
    ) -> Read<Expression> {
        let Some((function, may, count)) = Function::named(name) else {
            let known = Function::names();
            let message = format!("there is no function {name:?}: there are {known}");
            return Err(Fault::new(start, message));
        };
        if may != call && may != Call::Either {
            let message = match may {
                Call::OnValue => format!("{name} is called on a value, as in x.{name}(..)"),
                Call::Global | Call::Either => format!("{name} is called as {name}(x)"),
            };
            return Err(Fault::new(start, message));
        }
        if arguments.len() != count {
            let wanted = count - usize::from(call == Call::OnValue);
            let message = format!("{name} has another number of arguments: {wanted}");
            return Err(Fault::new(start, message));
        }
        let node = functions::constant(function, &arguments);
        let node = node.map_err(|message| Fault::new(start, message))?;
        self.node(start, node.unwrap_or(Node::Call(function, arguments)))
    }

    /// The rest of a macro, behind its opening bracket.
    fn fold(&mut self, start: usize, kind: FoldKind, over: Expression) -> Read<Expression> {
        let at = self.start();
        let name = self.name()?;
        if RESERVED.contains(&name) || name == "null" {
            return Err(Fault::new(at, format!("{name:?} is a reserved word")));
        }
        self.expect(",")?;
        self.locals.push(name);
        let first = self.expression()?;
        let second = match kind == FoldKind::Map && self.take(",") {
            true => Some(self.expression()?),
            false => None,
        };
        self.locals.pop();
        self.take(",");
        self.expect(")")?;
        let (test, item) = match (kind, second) {
            (FoldKind::Map, None) => (None, Some(first)),
            (_, second) => (Some(first), second),
        };
        let fold = Fold {
            kind,
            over,
            test,
            item,
        };
        self.node(start, Node::Fold(Box::new(fold)))
    }
}
