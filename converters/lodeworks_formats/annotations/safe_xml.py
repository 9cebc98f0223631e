"""XML from strangers: no entities, no external references, bounded size."""

import xml.etree.ElementTree as ET

import defusedxml.ElementTree as DefusedET
from defusedxml.common import DefusedXmlException

from lodeworks_formats.errors import FormatError

MAX_XML_BYTES = 32 << 20

_DECLARATION_BYTES = 256
_ASCII_LIKE = (b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1", b"latin1")


def parse_xml(data: bytes, *, file: str = "") -> ET.Element:
    """Returns the root element.

    Raises:
        FormatError: BROKEN_XML with the line, HOSTILE_XML or TOO_LARGE.
    """
    if len(data) > MAX_XML_BYTES:
        raise FormatError("TOO_LARGE", f"the annotation is larger than {MAX_XML_BYTES >> 20} MiB", file)
    if not data.strip():
        raise FormatError("BROKEN_XML", "the file is empty", file)
    try:
        if _is_plain(data):
            return ET.fromstring(data)  # noqa: S314 — without a DOCTYPE there is no entity to expand
        root: ET.Element = DefusedET.fromstring(data)
    except ET.ParseError as error:
        line = error.position[0] if error.position else None
        raise FormatError("BROKEN_XML", f"the XML is broken ({error.msg})", file, line) from error
    except DefusedXmlException as error:
        raise FormatError("HOSTILE_XML", "the XML declares entities; take them out", file) from error
    except (ValueError, LookupError) as error:
        raise FormatError("BROKEN_XML", f"the XML is broken ({error})", file) from error
    return root


def _is_plain(data: bytes) -> bool:
    # defusedxml parses in Python, several times slower. Entities need a DOCTYPE, and in an encoding that writes ASCII
    # as ASCII a DOCTYPE cannot hide; every other encoding goes the slow way.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        return False
    head = data[:_DECLARATION_BYTES].lower()
    start = head.find(b"encoding")
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml") or start < 0:
        return data[:2] not in (b"\xff\xfe", b"\xfe\xff")
    value = head[start + 8 :].lstrip(b" \t\r\n=\"'")
    return any(value.startswith((name + b'"', name + b"'")) for name in _ASCII_LIKE)
