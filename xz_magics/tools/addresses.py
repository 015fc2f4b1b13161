"""Which addresses and which names of hosts are public: what a URL that a model wrote may lead to."""

import ipaddress
import re

MOST_HOST_CHARACTERS = 253

_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # a provider's own; a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's metadata on an address that looks public
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, which holds an IPv4 address, and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4: holds an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_public(address: str) -> bool:
    """True for an address of the open internet alone. An IPv4 address inside an IPv6 one is that IPv4 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    if parsed.scope_id is not None:
        return False
    number = int(parsed)
    if parsed in _NAT64:  # how networks without IPv4 reach the rest of the internet
        return is_public(str(ipaddress.IPv4Address(number & 0xFFFF_FFFF)))
    if parsed not in _PUBLIC_6 or any(parsed in network for network in _NOT_PUBLIC_6):
        return False
    return (number >> 32) & 0xFFFF_FFFF not in _ISATAP


def normal_host(host: str) -> str | None:
    """A host's name in the one form that names are compared in; None for what is none, numbers among them."""
    name = host.lower().removesuffix(".")
    if len(name) > MOST_HOST_CHARACTERS:
        return None
    if not name.isascii():
        try:
            ascii_name = name.encode("idna").decode("ascii")
            if ascii_name.encode("ascii").decode("idna") != name:  # it was read as another name
                return None
        except UnicodeError:
            return None
        name = ascii_name
    labels = name.split(".")
    if len(name) > MOST_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if _NUMERIC_LABEL.fullmatch(labels[-1]) else name
