//! Planted histories of subscriptions.
