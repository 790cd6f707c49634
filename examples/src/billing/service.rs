//! A service that others run, as far as this program is concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Order;

/// Bills orders, unless it is down.
#[derive(Debug, Default)]
pub struct BillingService {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_down: bool,
    currencies: BTreeSet<String>,
    /// Numbers of the orders that were billed, in their order, by customer.
    billed: BTreeMap<String, Vec<u32>>,
    call_count: u64,
}

/// Why an order is not billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillingError {
    /// The service is down: so would it be for any other order.
    Down,
    /// It does not know the currency of this order.
    UnknownCurrency(String),
}

impl fmt::Display for BillingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("billing is down"),
            Self::UnknownCurrency(currency) => write!(f, "billing does not know {currency}"),
        }
    }
}

impl std::error::Error for BillingError {}

impl BillingService {
    /// One that knows EUR.
    pub fn new() -> Self {
        let service = Self::default();
        service.learn("EUR");
        service
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it down, or up again.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// From now on it knows this currency.
    pub fn learn(&self, currency: &str) {
        self.lock().currencies.insert(currency.to_owned());
    }

    /// Bills an order, once however often it is asked to.
    ///
    /// # Errors
    ///
    /// [`BillingError`].
    pub fn bill(&self, order: &Order) -> Result<(), BillingError> {
        let mut state = self.lock();
        state.call_count += 1;
        if state.is_down {
            return Err(BillingError::Down);
        }
        if !state.currencies.contains(&order.currency) {
            let currency = order.currency.clone();
            return Err(BillingError::UnknownCurrency(currency));
        }
        let billed = state.billed.entry(order.customer.clone()).or_default();
        if !billed.contains(&order.number) {
            billed.push(order.number);
        }
        Ok(())
    }

    /// How often it was called.
    pub fn call_count(&self) -> u64 {
        self.lock().call_count
    }

    /// Numbers of the orders that were billed, in their order, by customer.
    pub fn billed(&self) -> BTreeMap<String, Vec<u32>> {
        self.lock().billed.clone()
    }

    /// How many orders were billed.
    pub fn billed_count(&self) -> usize {
        self.lock().billed.values().map(Vec::len).sum()
    }
}
