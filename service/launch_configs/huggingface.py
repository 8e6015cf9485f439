"""Reads a model's `config.json` as published on the Hugging Face hub."""

from typing import Any

from service.catalog.huggingface import read_huggingface_config
from service.launch_configs.reading import NO_FIELD, LaunchConfig, LaunchConfigError, Understood, json_object


class _Watched(dict[str, Any]):
    """An object that remembers which of its entries were looked at."""

    def __init__(self, entries: dict[str, Any]) -> None:
        super().__init__(entries)
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)


def read_huggingface(text: str) -> LaunchConfig:
    """Reads a `config.json`: the model, nothing of how it is trained.

    Raises:
        LaunchConfigError: It is no JSON object, or describes no model whose shape can be read; it says what is missing.
    """
    config = json_object(text, "a config.json")
    watched = _Watched(config)
    try:
        shape = read_huggingface_config(watched)
    except ValueError as error:
        raise LaunchConfigError(str(error)) from None
    read = LaunchConfig(fields={"model.huggingface_config": config})
    read.understood = [Understood("config.json", f"model.{name}", value) for name, value in shape.items()]
    for option in config:
        if option not in watched.seen:
            read.ignore(option, NO_FIELD)
    return read
