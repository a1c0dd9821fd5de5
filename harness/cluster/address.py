"""The form of a storage's address. Errors quote no part of an address: any part may be the password."""

import re

VALID = "journal, postgresql://USER:PASSWORD@HOST:PORT/NAME, sqlite:///FILE"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(.*)", re.DOTALL)
_KEYWORDS = re.compile(r"(^|\s)[a-z_]+\s*=")
_BARE = re.compile(r"%(?![0-9A-Fa-f]{2})|[\s/?#\[\]\\]")  # what a user or a password cannot hold as it is
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]*)(:(\d*))?")
_QUERY = re.compile(r"([a-z_]+=[^&\s#]*(&|$))*")
_HIGHEST_PORT = 65535


def mistake(address: str) -> str | None:
    """Return the error in the form of an address (RFC 3986), or None if it is well-formed."""
    if address == "journal":
        return None
    found = _URL.fullmatch(address)
    if found is None:
        if _KEYWORDS.search(address):
            return f"libpq's keyword form (key=value key=value) is not read; valid: {VALID}"
        return f"no such storage; valid: {VALID}"
    if address.startswith("sqlite"):
        return None if found[1].startswith("/") or not found[1] else "SQLite has a file and no host; sqlite:///FILE"
    return _mistake_after_scheme(found[1])


def _mistake_after_scheme(rest: str) -> str | None:
    before, named, after = rest.rpartition("@")
    if named and (before.count(":") > 1 or "@" in before or _BARE.search(before)):
        return (
            "a user or a password holds a character that ends it; percent-encode: @ is %40, : is %3A, / is %2F, ? is "
            "%3F, # is %23, % is %25, a blank is %20"
        )
    place, asked, query = after.partition("?")
    authority, _, name = place.partition("/")
    host = _HOST.fullmatch(authority)
    if host is None or int(host[3] or 0) > _HIGHEST_PORT or re.search(r"[\s#]", name):
        return f"after the @ stands HOST:PORT/NAME, the port a number; valid: {VALID}"
    if asked and not _QUERY.fullmatch(query):
        return "after the ? stands key=value&key=value; percent-encode: & is %26, # is %23, a blank is %20"
    return None
