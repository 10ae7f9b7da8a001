//! Which of the routes of one host, one path pattern and one method does a request match, by its headers and its query?

use crate::config::MatchConditions;
use crate::config::MatchField;
use crate::config::ValuePattern;
use crate::config::match_condition::Specificity;
use crate::gate::accept::matched_field;
use crate::gate::accept::matched_field::AmbiguousField;
use foldhash::fast::RandomState;
use http::HeaderMap;
use std::borrow::Cow;
use std::collections::HashMap;

/// The routes of one host, one path pattern and one method, by their positions.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The route without conditions. In four bytes: each route has a slot for each of its methods.
    unconditional: Option<u32>,
    /// `None` where no route has conditions, which costs a request one branch.
    conditional: Option<Box<ConditionalRoutes>>,
}

impl Slot {
    pub(super) fn is_empty(&self) -> bool {
        self.unconditional.is_none() && self.conditional.is_none()
    }

    /// Adds `route`.
    ///
    /// # Errors
    /// The route with the same conditions.
    pub(super) fn add(&mut self, conditions: &MatchConditions, route: usize) -> Result<(), usize> {
        if conditions.is_empty() {
            return match self.unconditional() {
                Some(first) => Err(first),
                None => {
                    let position = u32::try_from(route);
                    self.unconditional = Some(position.expect("so many routes do not fit in memory"));
                    Ok(())
                }
            };
        }
        self.conditional.get_or_insert_default().add(conditions, route)
    }

    /// Returns the most specific route whose conditions the request meets.
    ///
    /// # Errors
    /// The first field without a certain value, of those that some route here is matched by.
    pub(super) fn route(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Option<usize>, AmbiguousField> {
        match &self.conditional {
            None => Ok(self.unconditional()),
            Some(conditional) => Ok(conditional.route(headers, query)?.or(self.unconditional())),
        }
    }

    /// Returns every route, the one without conditions last.
    pub(super) fn routes(&self) -> impl Iterator<Item = usize> {
        let conditional = self.conditional.iter().flat_map(|conditional| &conditional.routes);
        conditional.copied().chain(self.unconditional())
    }

    fn unconditional(&self) -> Option<usize> {
        self.unconditional.map(|route| route as usize)
    }

    /// Returns whether some route here matches every request.
    pub(super) fn has_unconditional(&self) -> bool {
        self.unconditional.is_some()
    }
}

/// The routes with conditions. Routes whose conditions differ only in values share a table, so the time of a look-up depends on
/// the number of shapes that the conditions have, not on the number of routes.
#[derive(Debug, Default)]
struct ConditionalRoutes {
    /// Every field that some route is matched by.
    fields: Vec<MatchField>,
    /// The most specific first.
    shapes: Vec<Shape>,
    routes: Vec<usize>,
}

/// The routes whose conditions are about the same fields in the same way.
#[derive(Debug)]
struct Shape {
    specificity: Specificity,
    parts: Box<[FieldPart]>,
    routes: ValueTree,
}

/// The part of a field's value that a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldPart {
    /// The position in [`ConditionalRoutes::fields`].
    field: usize,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// The first bytes, by their number.
    Prefix(usize),
    /// None: the field must be there.
    Nothing,
}

/// A table for each part, one below the other. Its keys come from the configuration: no client can fill it with collisions,
/// so a fast hash is enough.
#[derive(Debug)]
enum ValueTree {
    Route(usize),
    Values(HashMap<Box<[u8]>, Self, RandomState>),
}

impl Default for ValueTree {
    fn default() -> Self {
        Self::Values(HashMap::default())
    }
}

impl ConditionalRoutes {
    fn add(&mut self, conditions: &MatchConditions, route: usize) -> Result<(), usize> {
        let mut parts = Vec::new();
        let mut keys: Vec<&[u8]> = Vec::new();
        for condition in conditions.iter() {
            let known = self.fields.iter().position(|field| *field == condition.field);
            let field = known.unwrap_or_else(|| {
                self.fields.push(condition.field.clone());
                self.fields.len() - 1
            });
            let part = match &condition.pattern {
                ValuePattern::Exact(text) => {
                    keys.push(text.as_bytes());
                    Part::Whole
                }
                ValuePattern::Prefix(text) => {
                    keys.push(text.as_bytes());
                    Part::Prefix(text.len())
                }
                ValuePattern::Present => Part::Nothing,
            };
            parts.push(FieldPart { field, part });
        }
        let specificity = conditions.specificity();
        let known = self.shapes.iter().position(|shape| *shape.parts == *parts);
        let place = known.unwrap_or_else(|| {
            let place = self.shapes.partition_point(|shape| shape.specificity >= specificity);
            let shape = Shape {
                specificity,
                parts: parts.into(),
                routes: ValueTree::default(),
            };
            self.shapes.insert(place, shape);
            place
        });
        self.shapes[place].routes.add(&keys, route)?;
        self.routes.push(route);
        Ok(())
    }

    fn route(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Option<usize>, AmbiguousField> {
        let values = matched_field::values(&self.fields, headers, query)?;
        Ok(self.shapes.iter().find_map(|shape| shape.route(&values)))
    }
}

impl Shape {
    fn route(&self, values: &[Option<Cow<'_, [u8]>>]) -> Option<usize> {
        let mut tree = &self.routes;
        for FieldPart { field, part } in &self.parts {
            let value = values[*field].as_deref()?;
            let key = match *part {
                Part::Whole => value,
                Part::Prefix(bytes) => value.get(..bytes)?,
                Part::Nothing => continue,
            };
            tree = match tree {
                ValueTree::Route(_) => return None,
                ValueTree::Values(values) => values.get(key)?,
            };
        }
        match tree {
            ValueTree::Route(route) => Some(*route),
            ValueTree::Values(_) => None,
        }
    }
}

impl ValueTree {
    fn add(&mut self, keys: &[&[u8]], route: usize) -> Result<(), usize> {
        match (keys, &mut *self) {
            (_, Self::Route(first)) => Err(*first),
            ([], Self::Values(_)) => {
                *self = Self::Route(route);
                Ok(())
            }
            ([key, keys @ ..], Self::Values(values)) => values.entry((*key).into()).or_default().add(keys, route),
        }
    }
}
