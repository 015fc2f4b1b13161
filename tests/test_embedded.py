"""The embedded model as a provider, as far as it goes without the model: `tests/test_local.py` runs the real one."""

import asyncio
import fcntl
import threading

import pytest

from xz_magics.errors import ModelError
from xz_magics.prices import FREE
from xz_magics.providers import Exchange
from xz_magics.providers.embedded import EmbeddedProvider
from xz_magics.providers.local import LOCAL_NOTE, LocalModel
from xz_magics.providers.weights import SMOLLM2
from xz_magics.records import Message, Request


async def test_stopping_while_the_weights_are_on_their_way_ends_the_fetching_too(tmp_path):
    told = []
    provider = EmbeddedProvider("local", LocalModel(), None, tmp_path)
    with (tmp_path / f"{SMOLLM2.file_name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process is fetching
        opening = asyncio.ensure_future(provider.open(told.append))
        while not told:
            await asyncio.sleep(0.01)

        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

        worker = next(thread for thread in threading.enumerate() if thread.name.startswith("asyncio_"))
        await asyncio.get_running_loop().shutdown_default_executor()
        assert not worker.is_alive()
    assert told == ["another process is fetching the model's weights: waiting for it"]


async def test_a_file_that_is_no_model_is_refused_when_it_is_opened(tmp_path):
    pytest.importorskip("xllamacpp", reason='needs the embedded engine: pip install "xz-magics[local]"')
    (tmp_path / "own.gguf").write_text("no model")
    provider = EmbeddedProvider("local:own.gguf", LocalModel(), tmp_path / "own.gguf", tmp_path)

    with pytest.raises(ModelError, match="is no GGUF file") as caught:
        await provider.open(lambda _: None)

    assert "local:/path/to/model.gguf" in caught.value.hint


async def test_before_it_is_opened_nothing_can_be_asked_of_it(tmp_path):
    provider = EmbeddedProvider("local", LocalModel(), None, tmp_path)
    request = Request(messages=(Message(role="user", content="Hi"),), max_tokens=5)

    with pytest.raises(ModelError) as caught:
        await provider.call(request, Exchange())
    await provider.aclose()

    assert caught.value.hint == "await provider.open() first"


def test_it_is_free_and_says_how_good_it_is(tmp_path):
    built_in = EmbeddedProvider("local", LocalModel(), None, tmp_path)
    own = EmbeddedProvider("local:own.gguf", LocalModel(), tmp_path / "own.gguf", tmp_path)

    assert (built_in.price, built_in.note, own.note) == (FREE, LOCAL_NOTE, "")
    assert built_in.account == own.account
    assert built_in.overhead_tokens >= 64
