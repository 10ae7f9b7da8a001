# Run:
# pip install "PyJWT[crypto]" requests
# CLIENT_ID=<your-client-id> \
# KEY_PATH=client.pem \
# TOKEN_URL=https://auth.<region>.strata.io/oauth2/token \
# python main.py
import os
import time
import jwt
import requests
CLIENT_ID = os.environ["CLIENT_ID"]
KEY_PATH = os.environ["KEY_PATH"]
TOKEN_URL = os.environ["TOKEN_URL"]
with open(KEY_PATH, "rb") as f:
    private_key = f.read()
now = int(time.time())
claims = {
    "iss": CLIENT_ID,
    "sub": CLIENT_ID,
    "aud": TOKEN_URL,
    "iat": now,
    "exp": now + 300,
}
assertion = jwt.encode(claims, private_key, algorithm="ES256")
resp = requests.post(
    TOKEN_URL,
    data={
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    },
)
print(resp.status_code, resp.json())
