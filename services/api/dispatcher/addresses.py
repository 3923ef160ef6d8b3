"""Which addresses a webhook must never reach: whatever is not a public unicast address, unless the operator allows it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

# `is_global` is true for each of these, though none leads to a public host of its own.
_MISJUDGED: Final[tuple[tuple[Network, str], ...]] = (
    (ip_network("192.0.0.0/24"), "protocol assignments"),
    (ip_network("192.88.99.0/24"), "the former 6to4 relays"),
    (ip_network("64:ff9b::/96"), "translated IPv4"),
    (ip_network("64:ff9b:1::/48"), "locally translated IPv4"),
    (ip_network("2001::/23"), "protocol assignments"),
    (ip_network("2002::/16"), "6to4"),
    (ip_network("fec0::/10"), "site-local"),
)


def refused(address: str, allowed: Sequence[Network]) -> str | None:
    """Return why an address must not be connected to, None when it may be. What is no address is refused."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an address"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if any(found.version == network.version and found in network for network in allowed):
        return None
    kind = _kind(found)
    return None if kind is None else f"{found} is {kind}"


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    for network, name in _MISJUDGED:
        if address.version == network.version and address in network:
            return name
    checks = (
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.is_private, "private"),
        (address.is_reserved, "reserved"),
        (not address.is_global, "not public"),
    )
    return next((name for holds, name in checks if holds), None)
