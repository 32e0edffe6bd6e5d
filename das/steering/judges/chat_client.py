"""A client of OpenAI-compatible chat endpoints: one message in, one answer out, kept on disk.

POST ENDPOINT/chat/completions with {"model", "messages", "temperature"}; the key comes from an environment variable and
is never stored. Too many requests (429), server errors and lost connections are tried again, later each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from das.errors import ConfigError, JudgeError

_AGAIN = (408, 409, 429)


@dataclass(frozen=True)
class ChatClient:
    """Where to ask, and how patiently.

    Attributes:
        endpoint: base URL, e.g. "https://api.openai.com/v1".
        model: the endpoint's name of it.
        key_env: environment variable with the key; None where the endpoint wants none.
        temperature: of the answers.
        timeout: seconds per request.
        retries: tries after the first.
        backoff: seconds before the second try, doubled each time.
        cache: folder that keeps answers, or None.

    Raises:
        ConfigError: no http(s) endpoint, or the variable with the key is not set.
    """

    endpoint: str
    model: str
    key_env: str | None = None
    temperature: float = 0.0
    timeout: float = 60.0
    retries: int = 4
    backoff: float = 1.0
    cache: str | None = None

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ConfigError("the judge's endpoint must be an http(s) URL", got=self.endpoint)
        if self.key_env is not None and not os.environ.get(self.key_env):
            raise ConfigError(
                "the judge's key is not set", got=f"no environment variable {self.key_env}",
                remedy="export it, or give key_env=null where the endpoint wants none",
            )  # fmt: skip

    def ask(self, text: str) -> str:
        """The answer to one message.

        Raises:
            JudgeError: the endpoint refuses, cannot be reached, or answers in another format.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": self.temperature,
        }
        kept = self._kept(body)
        if kept is not None and kept.is_file():
            return str(json.loads(kept.read_text())["answer"])
        answer = self._answer(self._sent(body))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"answer": answer, "asked": body}))
            part.replace(kept)
        return answer

    def _kept(self, body: dict[str, Any]) -> Path | None:
        if self.cache is None:
            return None
        told = json.dumps([self.endpoint, body], sort_keys=True)
        return Path(self.cache).expanduser() / f"{hashlib.sha256(told.encode()).hexdigest()}.json"

    def _sent(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key_env is not None:
            headers["Authorization"] = f"Bearer {os.environ[self.key_env]}"
        url, data = f"{self.endpoint.rstrip('/')}/chat/completions", json.dumps(body).encode()
        for tried in count():
            request = urllib.request.Request(url, data, headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                wrong, hopeless = f"{error.code} {error.reason}", error.code < 500 and error.code not in _AGAIN
                error.close()
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                wrong, hopeless = str(error), False
            except ValueError as error:
                raise JudgeError("the judge's endpoint does not answer in JSON", got=str(error)) from error
            if hopeless or tried == self.retries:
                raise JudgeError(
                    "the judge's endpoint refuses" if hopeless else f"the judge did not answer {tried + 1} times",
                    got=f"{wrong} from {url}", remedy="check endpoint, model and key" if hopeless else "try later",
                )  # fmt: skip
            time.sleep(self.backoff * 2**tried)

    @staticmethod
    def _answer(reply: Any) -> str:
        try:
            return str(reply["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise JudgeError("the judge's endpoint answers in another format", got=json.dumps(reply)[:200]) from error
