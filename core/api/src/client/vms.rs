//! Client methods for VMs and operations.

use super::{Client, ClientError, segment};
use crate::{
    ActionReply, AdoptBody, ConsoleChunk, Counters, CreateVm, DriverCalls, Operation,
    OperationPage, PlanPreview, SnapshotAdvice, Vm, VmPage, Why,
};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use std::time::Duration;

/// Selects which VMs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only VMs in this state.
    pub state: Option<String>,
    /// Only VMs with this name.
    pub name: Option<String>,
    /// Only VMs on this host.
    pub host: Option<String>,
    /// Only VMs of this owner.
    pub owner: Option<String>,
    /// Include VMs that are done.
    pub all: bool,
    /// Only VMs with a higher id.
    pub after: Option<u64>,
    /// The largest number of VMs in the page.
    pub limit: Option<u32>,
}

/// The parameters of an action beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// How long to wait for the operation to end.
    pub wait: Option<Duration>,
    /// Act only if the record still has this version.
    pub if_version: Option<u64>,
    /// The idempotency key. A second request with the same key is answered as the first one and
    /// does nothing more.
    pub idempotency_key: Option<String>,
}

impl Sent {
    fn on(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(wait) = self.wait {
            let query = [("wait", format!("{}ms", wait.as_millis()))];
            request = request.query(&query).timeout(wait + super::ANSWER_TIMEOUT);
        }
        if let Some(version) = self.if_version {
            request = request.header("If-Match", format!("\"{version}\""));
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        request
    }
}

impl Client {
    /// Creates a VM.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn create_vm(
        &self,
        body: &CreateVm,
        key: Option<&str>,
    ) -> Result<ActionReply, ClientError> {
        let mut request = self.request(Method::POST, "/v1/vms").json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.answer(request).await
    }

    /// The plan of a creation. Nothing is created.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn preview_create(&self, body: &CreateVm) -> Result<PlanPreview, ClientError> {
        self.answer(self.request(Method::POST, "/v1/vms").query(&[("dry_run", "true")]).json(body))
            .await
    }

    /// A page of VMs.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn vms(&self, filter: &ListFilter) -> Result<VmPage, ClientError> {
        let mut query: Vec<(&str, String)> = Vec::new();
        let texts = [
            ("state", &filter.state),
            ("name", &filter.name),
            ("host", &filter.host),
            ("owner", &filter.owner),
        ];
        query.extend(
            texts.into_iter().filter_map(|(key, value)| value.clone().map(|value| (key, value))),
        );
        query.extend(filter.after.map(|after| ("after", after.to_string())));
        query.extend(filter.limit.map(|limit| ("limit", limit.to_string())));
        if filter.all {
            query.push(("all", "true".to_owned()));
        }
        self.answer(self.request(Method::GET, "/v1/vms").query(&query)).await
    }

    /// One VM, by id or name.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn vm(&self, vm: &str) -> Result<Vm, ClientError> {
        self.get(&format!("/v1/vms/{}", segment(vm))).await
    }

    /// What a VM waits for, and why.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn why(&self, vm: &str) -> Result<Why, ClientError> {
        self.get(&format!("/v1/vms/{}/why", segment(vm))).await
    }

    /// The snapshots of a VM, and the answer of its snapshot rules.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn snapshots(&self, vm: &str) -> Result<SnapshotAdvice, ClientError> {
        self.get(&format!("/v1/vms/{}/snapshots", segment(vm))).await
    }

    /// The resources that a VM uses.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn counters(&self, vm: &str) -> Result<Counters, ClientError> {
        self.get(&format!("/v1/vms/{}/counters", segment(vm))).await
    }

    /// A VM's operations.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn operations_of(&self, vm: &str) -> Result<OperationPage, ClientError> {
        self.get(&format!("/v1/vms/{}/operations", segment(vm))).await
    }

    /// A part of a VM's console log.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn console_log(
        &self,
        vm: &str,
        from: Option<u64>,
    ) -> Result<ConsoleChunk, ClientError> {
        let request = self.request(Method::GET, &format!("/v1/vms/{}/console-log", segment(vm)));
        let query: Vec<(&str, u64)> = from.map(|from| ("from", from)).into_iter().collect();
        self.answer(request.query(&query)).await
    }

    /// Asks a verb of a VM. `body` must be the body of that verb.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn act<B: Serialize + ?Sized>(
        &self,
        vm: &str,
        verb: &str,
        body: &B,
        sent: &Sent,
    ) -> Result<ActionReply, ClientError> {
        self.answer(sent.on(self.request(Method::POST, &action_path(vm, verb)).json(body))).await
    }

    /// Makes a domain of a host a VM of Ostler's.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn adopt(
        &self,
        host: &str,
        body: &AdoptBody,
        sent: &Sent,
    ) -> Result<ActionReply, ClientError> {
        self.answer(sent.on(
            self.request(Method::POST, &format!("/v1/hosts/{}/adopt", segment(host))).json(body),
        ))
        .await
    }

    /// The plan of an adoption. Nothing is changed.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn preview_adoption(
        &self,
        host: &str,
        body: &AdoptBody,
    ) -> Result<PlanPreview, ClientError> {
        let request = self.request(Method::POST, &format!("/v1/hosts/{}/adopt", segment(host)));
        self.answer(request.query(&[("dry_run", "true")]).json(body)).await
    }

    /// The plan of an action. Nothing is changed.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn preview<B: Serialize + ?Sized>(
        &self,
        vm: &str,
        verb: &str,
        body: &B,
    ) -> Result<PlanPreview, ClientError> {
        let request = self.request(Method::POST, &action_path(vm, verb));
        self.answer(request.query(&[("dry_run", "true")]).json(body)).await
    }

    /// The calls of the drivers of an operation.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn calls_of(&self, operation: u64) -> Result<DriverCalls, ClientError> {
        self.get(&format!("/v1/operations/{operation}/calls")).await
    }

    /// One operation. Waits up to `wait` for its end.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn operation(
        &self,
        id: u64,
        wait: Option<Duration>,
    ) -> Result<Operation, ClientError> {
        let mut request = self.request(Method::GET, &format!("/v1/operations/{id}"));
        if let Some(wait) = wait {
            let query = [("wait", format!("{}ms", wait.as_millis()))];
            request = request.query(&query).timeout(wait + super::ANSWER_TIMEOUT);
        }
        self.answer(request).await
    }
}

fn action_path(vm: &str, verb: &str) -> String {
    format!("/v1/vms/{}/actions/{}", segment(vm), segment(verb))
}
