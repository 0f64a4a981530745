//! What a request carries, read with errors that are sentences.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Error;
use crate::api;
use crate::core::tables::Refusal;

/// The largest body that is read, in bytes.
pub(super) const BODY_LIMIT: usize = 1 << 20;

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Failure(pub(super) StatusCode, pub(super) String);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match &error {
            Error::Refused(Refusal::Invalid(_)) => StatusCode::BAD_REQUEST,
            Error::Refused(Refusal::Conflict(_)) => StatusCode::CONFLICT,
            Error::Refused(Refusal::NotFound(_)) => StatusCode::NOT_FOUND,
            Error::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, axum::Json(api::Error { message: self.1 })).into_response()
    }
}

/// A JSON body, whatever its content type says.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Failure> {
        let body = Bytes::from_request(request, state).await.map_err(unread)?;
        serde_json::from_slice(&body).map(Json).map_err(|e| {
            let what = if e.is_data() { "not what this path takes" } else { "no JSON" };
            Failure(StatusCode::BAD_REQUEST, format!("the request's body is {what}: {e}"))
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn unread(rejection: BytesRejection) -> Failure {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's body is too large: at most {BODY_LIMIT} bytes are read"),
        ),
        other => Failure(StatusCode::BAD_REQUEST, format!("the request's body broke off: {other}")),
    }
}

/// The parameters in a path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Failure> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(e) => Err(Failure(
                StatusCode::BAD_REQUEST,
                format!("the request's path cannot be read: {}", e.body_text()),
            )),
        }
    }
}

/// The parameters after the question mark.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(e) => Err(Failure(
                StatusCode::BAD_REQUEST,
                format!("the request's parameters cannot be read: {}", e.body_text()),
            )),
        }
    }
}
