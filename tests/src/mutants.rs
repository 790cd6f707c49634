//! Taking away, one at a time, what makes a promise hold, to see that a test fails: `mutants/list.md` and
//! `mutants/damage.md` have the sites, [`list`] reads them, [`tree`] plants them in a copy of the sources,
//! [`trial`] runs the tests.

pub mod list;
pub mod tree;
pub mod trial;
