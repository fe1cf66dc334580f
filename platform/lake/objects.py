"""Objects beside the tables: manifests, ledger, staging. One code path for folders and object stores."""

from __future__ import annotations

from collections.abc import Mapping

import obstore

# Storage options that concern the connection, which obstore takes apart from those of the service.
_CLIENT_OPTIONS = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout", "user_agent")


def remote_store(url: str, options: Mapping[str, str]) -> obstore.store.ObjectStore:
    """The object store of a URL, from the same storage options that Delta and Polars take."""
    client = {k: v for k, v in options.items() if k.lower().removeprefix("aws_") in _CLIENT_OPTIONS}
    config = {k: v for k, v in options.items() if k not in client}
    return obstore.store.from_url(
        url, config=config, client_options={k.lower().removeprefix("aws_"): v for k, v in client.items()}
    )
