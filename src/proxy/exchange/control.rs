//! How does an exchange get its answer from the control side?

use crate::config::EndpointKind;
use crate::gate::answer::Answer;
use crate::gate::answer::built_in;
use crate::gate::answer::control::ControlCall;
use crate::gate::answer::control::ControlError;
use crate::gate::answer::control::ControlRequest;
use crate::gate::denial::Denial;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Outcome;
use bytes::Bytes;
use http::Method;
use http::header;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// The longest wait for a response. The control side waits up to 500 ms for a client's keys and writes to a disk, so a
/// response that takes much longer is a fault.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Exchange {
    /// Calls the control side with `call` and its whole `body`, and returns the answer. `client_gone` ends when the
    /// client closes its connection or sends bytes too early. A call that was started continues in the background after
    /// an error, so that no change is left half done.
    ///
    /// # Errors
    /// The denial of `client_gone`, [`Denial::ControlUnavailable`] without a response, or [`Denial::Panicked`].
    pub async fn call_control(
        &mut self,
        call: ControlCall,
        body: Bytes,
        client_gone: impl Future<Output = Denial>,
    ) -> Result<Answer, Denial> {
        let control = self.gate.live.control.get().ok_or(Denial::ControlUnavailable)?;
        let head = &self.request;
        let response = control.answer(ControlRequest {
            // A response to HEAD announces the length of the response to GET (RFC 9110 section 9.3.2).
            method: match head.method {
                Method::HEAD => Method::GET,
                ref method => method.clone(),
            },
            uri: call.uri,
            headers: head.headers.clone(),
            body,
            client: call.client,
            request_id: self.request_id.as_str().to_owned(),
        });
        let response = tokio::select! {
            response = timeout(TIMEOUT, response) => response,
            denial = client_gone => return Err(denial),
        };
        let response = match response {
            Ok(Ok(response)) => response,
            Ok(Err(ControlError::Panicked)) => return Err(Denial::Panicked),
            Ok(Err(ControlError::Unavailable)) | Err(_) => return Err(Denial::ControlUnavailable),
        };
        self.outcome = Outcome::Controlled {
            reason: response.reason,
            client_id: response.client_id,
        };
        let mut answer = response.answer;
        let has_allow_origin = answer
            .headers
            .iter()
            .any(|(name, _)| name == header::ACCESS_CONTROL_ALLOW_ORIGIN);
        if call.endpoint == EndpointKind::Metadata && !has_allow_origin {
            answer
                .headers
                .push((header::ACCESS_CONTROL_ALLOW_ORIGIN, built_in::ANY));
        }
        Ok(answer)
    }
}
