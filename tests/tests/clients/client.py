"""Requests of Python's requests (urllib3 below it)."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import requests

URL, HOST = sys.argv[1], sys.argv[2]
BODY = bytes(range(256)) * 4096
SAID = f"v1 {len(BODY)} {hashlib.sha256(BODY).hexdigest()}"


def session():
    one = requests.Session()
    one.trust_env = False
    one.headers["Host"] = HOST
    return one


def check(said, wanted, what):
    if said.status_code != 200 or said.text != wanted:
        sys.exit(f"{what}: {said.status_code} {said.text!r}, and not {wanted!r}")


def parts():
    for start in range(0, len(BODY), 70_001):
        yield BODY[start : start + 70_001]


def many(_):
    with session() as own:
        for _ in range(20):
            check(own.get(URL), "v1", "one of many")


with session() as one:
    for _ in range(100):
        check(one.get(URL), "v1", "GET")
        check(one.get(URL, headers={"end-user": "jason"}), "v2", "GET of jason")
    check(one.post(URL, data=BODY), SAID, "POST with a length")
    check(one.post(URL, data=parts()), SAID, "POST in chunks")
    check(one.head(URL), "", "HEAD")
with ThreadPoolExecutor(20) as pool:
    list(pool.map(many, range(20)))
print("ok")
