"""`scripts/serve.py`: one model behind an OpenAI-compatible API and a chat page."""

import socket
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.command_line.outcome import say
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.finished import device_of
from deepseek_lab.serving.access import Access, access, read_key
from deepseek_lab.serving.limits import Limits
from deepseek_lab.serving.speaker import Speaker, engine_config, load_speaker, own_defaults_line, sampling_of
from deepseek_lab.text.template_sandbox import TemplateError


def check_serving(cfg: DictConfig) -> None:
    """Raises ConfigError for what cannot be served, before the model is read."""
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise ConfigError("needs fastapi and uvicorn: pip install 'deepseek-lab[serve]'", "serving")
    if isinstance(cfg.port, bool) or not isinstance(cfg.port, int) or not 0 <= cfg.port < 65536:
        raise ConfigError(f"must be an integer from 0 (any free one) to 65535, not {cfg.port!r}", "port")
    limits_of(cfg)
    access_of(cfg)
    sampling_of(cfg)
    engine_config(cfg)
    device_of(cfg.accelerator)


def limits_of(cfg: DictConfig) -> Limits:
    """The node `limits`."""
    values: Any = OmegaConf.to_container(cfg.limits, resolve=True)
    try:
        return Limits(**values)
    except ConfigError as error:
        raise error.at("limits") from None


def access_of(cfg: DictConfig) -> Access:
    """Where to listen and who may ask."""
    if not isinstance(cfg.host, str):
        raise ConfigError(f"must be an address, not {cfg.host!r}", "host")
    return access(cfg.host, [str(name) for name in cfg.allowed_hosts], read_key(cfg.key_file))


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; raises ConfigError when the port is taken or the address is not this machine's."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        raise ConfigError(f"={port} on {host}: {error.strerror or error}", "port") from None


def serve(cfg: DictConfig) -> None:
    """Serves until Ctrl-C."""
    check_serving(cfg)
    import uvicorn

    from deepseek_lab.serving.app import Service, make_app
    from deepseek_lab.serving.connection import impatient_protocol
    from deepseek_lab.serving.engine_thread import EngineThread

    limits, listening = limits_of(cfg), bound(cfg.host, cfg.port)
    with listening:
        speaker = _loaded(cfg)
        _require_template(speaker)
        thread = EngineThread(speaker.engine, limits.queue)
        service = Service(speaker, thread, limits, sampling_of(cfg, own=speaker.generation))
        settings = uvicorn.Config(
            make_app(service, access_of(cfg), limits),
            http=impatient_protocol(limits.idle_seconds),
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=limits.connections,
            h11_max_incomplete_event_size=limits.header_bytes,
            timeout_keep_alive=min(5, limits.idle_seconds),
            timeout_graceful_shutdown=5,
        )
        print(_ready(cfg.host, listening, speaker.name), flush=True)
        if line := own_defaults_line(cfg, speaker.generation, limits.default_new_tokens):
            say(line, "note")
        uvicorn.Server(settings).run(sockets=[listening])


def _loaded(cfg: DictConfig) -> Speaker:
    """In a thread that ends, so that the engine's is the only one with a team of OpenMP workers.

    Where teams together are more than the processors, none of them waits awake, and small operations on several
    threads take about 1.5 times as long.
    """
    with ThreadPoolExecutor(1, "load") as passing:
        return passing.submit(load_speaker, cfg).result()


def _require_template(speaker: Speaker) -> None:
    """Raises DataError for a chat template that cannot be rendered: now, and not in the answer to every client."""
    try:
        speaker.chat.opens_thought()
    except TemplateError as error:
        raise DataError(f"{speaker.name}: {error}") from None


def _ready(host: str, listening: socket.socket, name: str) -> str:
    place = f"[{host}]" if ":" in host else host
    url = f"http://{place}:{listening.getsockname()[1]}"
    return f"{name} answers on {url} (page) and {url}/v1 (API); Ctrl-C ends"
