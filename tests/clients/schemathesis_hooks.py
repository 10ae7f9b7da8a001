"""What a JSON Schema cannot say about the admin API, for Schemathesis: texts of its formats, and right refusals."""

import datetime
import ipaddress

import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi.checks import IgnoredAuth, RejectedPositiveData

# An instant of the description is an expiry, or a bound of a search: an expiry lies within the next 730 days.
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
INSTANTS = st.integers(1, 17_000).map(lambda hours: (NOW + datetime.timedelta(hours=hours)).isoformat())

# A range has no bits beyond its prefix.
RANGES = st.one_of(
    st.builds(lambda address, prefix: str(ipaddress.ip_network((address, prefix), strict=False)), addresses, prefixes)
    for addresses, prefixes in [
        (st.ip_addresses(v=4), st.integers(0, 32)),
        (st.ip_addresses(v=6), st.integers(0, 128)),
    ]
)

# Hosts that exist nowhere (RFC 6761 section 6.4), because the gate fetches from these URLs.
URLS = st.from_regex(r"https://[a-z]{1,20}(\.[a-z]{1,10}){0,2}\.invalid(:[1-9][0-9]{0,3})?(/[a-z0-9._-]{0,20})?", fullmatch=True)

# Random bytes are no key.
KEYS = st.sampled_from(
    [
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAszzkoRO3L/drRBu/tDt/JxO9QoXrYn43z9FL5mOFZTY=\n"
        "-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEOfqRmtHQihB/Kp3Zdtu1ytga66RW\n"
        "tJxTTjod5CBjM3/nm/BlERt/10eI36ZDPGngelZh6SiIsavcDclSrlj5lQ==\n"
        "-----END PUBLIC KEY-----\n",
    ]
)

schemathesis.openapi.format("date-time", INSTANTS)
schemathesis.openapi.format("address-range", RANGES)
schemathesis.openapi.format("uri", URLS)
schemathesis.openapi.format("pem-public-key", KEYS)

# The refusals that are right although the request is as described: the check, what its message or the response has, and why.
RIGHT_REFUSALS = [
    (
        RejectedPositiveData,
        "urn:keygate:problem:idempotency-key-reused",
        "no schema says that a key was used for another body (draft-ietf-httpapi-idempotency-key-header section 2.7)",
    ),
    (
        IgnoredAuth,
        "got `429 Too Many Requests`",
        "a wrong token is refused also where it is the sixth within a second",
    ),
]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    text = f"{failure.message} {response.text}"
    for check, part, reason in RIGHT_REFUSALS:
        if isinstance(failure, check) and part in text:
            print(f"Right: {case.method} {case.path}: {reason}")
            return False
    return True
