//! A copy of the store, over HTTP.

use crate::control::admin::body::Body;
use crate::control::admin::formats;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::registry::Registry;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;

/// Where the copy is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBackup)]
pub(super) struct NewBackup {
    /// The name of a file that is not there yet; it is made beside the store. Over the gate's own socket it may be any
    /// absolute path.
    #[schema(value_type = formats::BackupName)]
    path: String,
}

/// Where the copy is.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
pub(super) struct View {
    #[schema(example = "keygate-2027-01-31.db")]
    path: String,
}

/// Copy the store
///
/// Whole, and of one instant, while the gate goes on. It holds no secrets, but the digests of all. For operators.
#[utoipa::path(post, path = "/admin/v1/backup", tag = "gate", operation_id = "backUp",
    request_body = NewBackup, responses((status = 201, description = "The copy is there", body = View)))]
pub(super) async fn make(registry: Registry, Body { body, .. }: Body<NewBackup>) -> HandlerResult {
    let path = registry.backup(&body.path).await?;
    Ok(AdminResponse::created(&View {
        path: path.display().to_string(),
    }))
}
