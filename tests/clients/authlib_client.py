"""A client with Authlib and its defaults: client_credentials, and what else it is asked for.

TOKEN_ENDPOINT, CLIENT_ID, SCOPE (none: not sent) and one of
  CLIENT_SECRET, sent as AUTHENTICATION says: Authlib's default (client_secret_basic), client_secret_post
  KEY_PATH (PEM) with ALGORITHM (none: Authlib's default, RS256); the assertion lives for an hour and has a jti
INTEGRATION: requests (default) or httpx
THEN: words of `introspect` and `revoke`, with INTROSPECTION_ENDPOINT and REVOCATION_ENDPOINT
API: called with the token at the end; Authlib puts it into the header
Standard output: one JSON object; a refusal is {"refused": {"error": …, "error_description": …}}.
"""

import json
import os

# The tests' servers are on loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.base_client.errors import OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import import_key

env = os.environ.get
if env("INTEGRATION") == "httpx":
    from authlib.integrations.httpx_client import OAuth2Client as Session
else:
    from authlib.integrations.requests_client import OAuth2Session as Session

endpoint = env("TOKEN_ENDPOINT")
settings = {"scope": env("SCOPE")} if env("SCOPE") else {}
if env("KEY_PATH"):
    with open(env("KEY_PATH")) as file:
        key = file.read()
    if env("ALGORITHM"):
        # A text is taken for an RSA key.
        kind = {"ES256": "EC", "EdDSA": "OKP"}.get(env("ALGORITHM"), "RSA")
        key = import_key(key, kind)
    session = Session(env("CLIENT_ID"), key, token_endpoint_auth_method="private_key_jwt", **settings)
    algorithm = {"alg": env("ALGORITHM")} if env("ALGORITHM") else {}
    session.register_client_auth_method(PrivateKeyJWT(endpoint, **algorithm))
else:
    if env("AUTHENTICATION"):
        settings["token_endpoint_auth_method"] = env("AUTHENTICATION")
    session = Session(env("CLIENT_ID"), env("CLIENT_SECRET"), **settings)

report = {}
try:
    report["token"] = dict(session.fetch_token(endpoint, grant_type="client_credentials"))
    report["then"] = []
    for step in env("THEN", "").split():
        token = report["token"]["access_token"]
        if step == "introspect":
            answer = session.introspect_token(env("INTROSPECTION_ENDPOINT"), token=token)
            report["then"].append(answer.json())
        else:
            answer = session.revoke_token(env("REVOCATION_ENDPOINT"), token=token)
            report["then"].append({"revoked": answer.status_code})
    if env("API"):
        answer = session.get(env("API"))
        report["api"] = answer.status_code
except OAuthError as error:
    report["refused"] = {"error": error.error, "error_description": error.description}
print(json.dumps(report))
