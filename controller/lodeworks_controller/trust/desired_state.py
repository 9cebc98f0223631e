"""Signs desired states, the documents that devices obey.

A desired state is one JSON object in canonical form (sorted keys, no spaces, UTF-8: ``lodeworks_formats.manifest``).
The signature is Ed25519 over exactly these bytes; on the wire and on disk the bytes are carried as they were signed, so
nobody has to make them canonical again. The key id is TUF's: the key is listed under it in the target
``trust/desired-state-keys.json`` of the release repository. Members::

    type            "lodeworks.desired-state"
    version         1; a device refuses a greater one
    device_id       a device refuses a document for another device
    generation      integer from 1; a device refuses one that is not above the last it saw
    issued_at       RFC 3339 in UTC with whole seconds, "2026-11-22T14:00:00Z"
    expires_at      the same; after it the document starts nothing new and ends nothing that runs
    algorithms      list of objects, at most one per name:
      name            its name on the device
      release_path    TUF target of the release, "releases/<name>/<number>.json"
      release         number of the release
      package_id      sha256 of the manifest; a device refuses one that the signed release does not list
      state           "running" | "stopped" | "absent"
      settings, sources, sinks, feedback, gate      as devices.md; objects, lists or null
    policy          {window, bandwidth, min_free, soak} or {}

How a device verifies: refresh the repository with python-tuf, fetch ``trust/desired-state-keys.json``, look the key id
up there, verify the signature over the bytes, and only then parse them.
"""

from collections.abc import Mapping
from typing import Any, Final

from lodeworks_formats.manifest import canonical_json
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.release import SignedDocument

DOCUMENT_TYPE: Final = "lodeworks.desired-state"
DOCUMENT_VERSION: Final = 1

_NEEDED: Final = {"device_id": str, "generation": int, "issued_at": str, "expires_at": str, "algorithms": list}


class DesiredStateSigner:
    """Signs with the controller's key for desired states.

    Args:
        signer: The key.
    """

    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    @property
    def key_id(self) -> str:
        """The id under which devices find the key in the repository."""
        return self._signer.public_key.keyid

    def sign(self, document: Mapping[str, Any]) -> SignedDocument:
        """Returns the document as canonical JSON with its signature; type and version are set here.

        Raises InvalidError for a document without one of its necessary members.
        """
        for member, kind in _NEEDED.items():
            if not isinstance(document.get(member), kind):
                raise InvalidError(
                    "DOCUMENT_INVALID", f"a desired state needs {member} as {kind.__name__}", field=member
                )
        data = canonical_json({**document, "type": DOCUMENT_TYPE, "version": DOCUMENT_VERSION})
        signature = self._signer.sign(data)
        return SignedDocument(document=data, signature=bytes.fromhex(signature.signature), key_id=signature.keyid)
