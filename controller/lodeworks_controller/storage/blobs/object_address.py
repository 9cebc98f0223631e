"""The object store that an address names."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lodeworks_controller.errors import InvalidError


def check_object_address(url: str) -> tuple[str, str]:
    """Returns bucket and prefix of ``s3://bucket/prefix``, or raises InvalidError BLOBS_INVALID."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise InvalidError(
            "BLOBS_INVALID", f"blobs_url cannot be {url!r}; write s3://BUCKET or s3://BUCKET/PREFIX", field="blobs_url"
        )
    return parts.netloc, parts.path.strip("/")


def object_store(url: str, options: Mapping[str, str]) -> Any:
    """Returns an obstore store.

    Args:
        url: ``s3://bucket/prefix``.
        options: endpoint, access_key_id, secret_access_key, session_token, region; those that are not given are found
            as the cloud's own machines find them.
    """
    from obstore.store import S3Store  # noqa: PLC0415 (only installations with an object store pay for it)

    bucket, prefix = check_object_address(url)
    config: dict[str, Any] = dict(options)
    plain = options.get("endpoint", "").startswith("http://")
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={"allow_http": plain, "timeout": "60s"},
        virtual_hosted_style_request=False,
        **config,
    )
