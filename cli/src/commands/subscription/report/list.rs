//! All subscriptions.

use std::io::{self, Write};

use towpath_client::Subscription;

use super::SubscriptionReport;
use crate::output::{Align, Report, Table, json_line};

/// All subscriptions, one a line.
#[derive(Debug)]
pub(in crate::commands::subscription) struct SubscriptionList {
    subscriptions: Vec<SubscriptionReport>,
}

impl SubscriptionList {
    pub(in crate::commands::subscription) fn of(subscriptions: &[Subscription]) -> Self {
        Self {
            subscriptions: subscriptions.iter().map(SubscriptionReport::of).collect(),
        }
    }
}

impl Report for SubscriptionList {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("SUBSCRIPTION", Align::Left),
            ("TOPIC", Align::Left),
            ("MODE", Align::Left),
            ("STATE", Align::Left),
            ("CONSUMERS", Align::Right),
            ("CREATED", Align::Left),
        ]);
        for it in &self.subscriptions {
            let state = if it.is_paused { "PAUSED" } else { "ACTIVE" };
            table.row([
                it.subscription.clone(),
                it.topic.clone(),
                it.config.mode.to_owned(),
                state.to_owned(),
                it.consumer_count.to_string(),
                it.create_time.clone(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.subscriptions
            .iter()
            .try_for_each(|subscription| json_line(out, subscription))
    }
}
