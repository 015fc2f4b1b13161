"""What the environment says of the network: the proxy on the way to a host, and the certificates to trust."""

import os
from urllib.request import getproxies, proxy_bypass

from xz_magics.errors import ModelError
from xz_magics.providers.endpoint import Endpoint


def proxy_url(endpoint: Endpoint) -> str | None:
    """The proxy that is named for this host; never for this machine. Raises ModelError for a kind that is not known."""
    proxies = getproxies()
    url = proxies.get(endpoint.scheme) or proxies.get("all")
    if not url or endpoint.on_this_machine or proxy_bypass(endpoint.host):
        return None
    url = url if "://" in url else f"http://{url}"
    if not url.startswith(("http://", "https://")):
        raise ModelError(
            f"the environment names a proxy of a kind that is not supported: {url.partition('://')[0]}",
            "set HTTPS_PROXY to an http:// proxy, or add the host to NO_PROXY",
        )
    return url


def no_certificates(error: OSError) -> ModelError:
    """Why the certificates to trust cannot be loaded."""
    named = os.environ.get("SSL_CERT_FILE") or "of this Python"
    return ModelError(
        f"the certificates {named} cannot be read: {error.strerror or error}",
        "set SSL_CERT_FILE to a file of certificates (PEM), or unset it to trust the usual ones",
    )
