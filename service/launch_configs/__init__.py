"""Reads what other frameworks launch a run with into a configuration, and says what it made of each option."""

from collections.abc import Callable

from service.launch_configs.deepspeed import read_deepspeed
from service.launch_configs.huggingface import read_huggingface
from service.launch_configs.megatron import read_megatron
from service.launch_configs.reading import LaunchConfig as LaunchConfig
from service.launch_configs.reading import LaunchConfigError as LaunchConfigError
from service.launch_configs.torchtitan import read_torchtitan

READERS: dict[str, Callable[[str], LaunchConfig]] = {
    "huggingface": read_huggingface,
    "megatron": read_megatron,
    "deepspeed": read_deepspeed,
    "torchtitan": read_torchtitan,
}
"""The reader of each framework's file, from its text. A later one wins where several say the same field."""
