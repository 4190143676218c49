from lab.registry import Request, parse_access_log

LOG = """\
time="2026-11-22T11:27:52Z" level=warning msg="No HTTP secret provided" go.version=go1.19.8
10.77.0.11 - - [22/Nov/2026:11:27:52 +0000] "HEAD /v2/app/manifests/v1?ns=lab HTTP/1.1" 200 505 "" "c/2.2.6"
10.77.0.12 - - [22/Nov/2026:11:27:53 +0000] "GET /v2/team/app/blobs/sha256:ab HTTP/1.1" 206 100 "" "curl"
10.77.0.1
"""


def test_requests_are_found_among_other_lines() -> None:
    assert parse_access_log(LOG) == [
        Request("10.77.0.11", "HEAD", "/v2/app/manifests/v1", 200, 505, "c/2.2.6"),
        Request("10.77.0.12", "GET", "/v2/team/app/blobs/sha256:ab", 206, 100, "curl"),
    ]


def test_blob_and_manifest_requests_are_told_apart() -> None:
    manifest, blob = parse_access_log(LOG)
    assert (manifest.is_manifest, manifest.is_blob) == (True, False)
    assert (blob.is_manifest, blob.is_blob) == (False, True)
