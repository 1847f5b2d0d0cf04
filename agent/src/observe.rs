//! What a person or a machine may know of a running agent: its status, the flows that it judged,
//! its metrics and its log. Nothing here decides anything.

pub(crate) mod abi_names;
pub(crate) mod access_log;
pub(crate) mod events;
pub(crate) mod flow_filter;
pub(crate) mod flow_record;
pub(crate) mod flow_request;
pub(crate) mod flow_view;
pub(crate) mod flows;
pub(crate) mod log;
pub(crate) mod log_fields;
pub(crate) mod metrics;
pub(crate) mod service_metrics;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod traces;
mod views;
