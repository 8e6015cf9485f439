"""Mutates files under the readers' code coverage: ``make fuzz``, a minute a target.

    python -m tests.fuzz [TARGET ...] [--seconds 60]

A target is run in a process of its own, which ends at the first crash, at an input that takes longer than a few seconds
or more memory than a worker should; the input is kept under ``build/fuzz/`` and printed with the way to run it again.
Needs atheris (a libFuzzer for Python; wheels for Linux), which nothing else here needs.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path("build") / "fuzz"
LONGEST_BYTES = 8192
SLOWEST_SECONDS = 5
MOST_MEMORY_MB = 600
"""Of the process, some 100 MB of them before the first input."""
READERS = [
    "service.codec", "service.submissions.spool", "service.catalog.huggingface",
    "service.catalog.huggingface_attention", "service.catalog.huggingface_defaults", "service.launch_configs",
]  # fmt: skip
"""Modules whose coverage is watched; imported in the target's process alone, and there only once it is watched."""
CONFIG = {
    "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
    "vocab_size": 32000, "intermediate_size": 14336, "sliding_window": 4096, "layer_types": ["full_attention"],
}  # fmt: skip
ROW = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "T4"}, "result": {"value": 3, "unit": "mfu"}}
SEEDS: dict[str, list[str]] = {
    "csv": [
        "model.name,hardware.accelerator,hardware.count,result.value,result.unit\nresnet-50,T4,1,3,mfu\n",
        'provenance.notes,model.huggingface_config\n"one\ntwo","{""a"":1}"\n',
    ],
    "ndjson": [json.dumps(ROW) + "\n" + json.dumps({"model.name": "x", "result.value": 3}) + "\n"],
    "config": [json.dumps(CONFIG), json.dumps({"text_config": CONFIG})],
    "huggingface": [json.dumps(CONFIG)],
    "megatron": [
        "TP=8\ntorchrun pretrain_gpt.py --num-layers 80 --hidden-size=8192 --swiglu --moe-ffn-hidden-size 64 \\\n"
        '    --tensor-model-parallel-size ${TP:-4} --train-iters 500 --nnodes $N  # "as published"\n',
        "  bf16 ..................... True\n  [0]: num_layers .......... 32\n  world_size ...... None\n",
    ],
    "deepspeed": [json.dumps({"train_batch_size": 8, "zero_optimization": {"stage": 3}, "bf16": {"enabled": True}})],
    "torchtitan": ['[model]\nname = "llama3"\nflavor = "8B"\n[training]\nlocal_batch_size = 1\nseq_len = 8192\n'],
}
"""What mutation starts from: a file of each kind that is read."""


def main() -> None:
    """Command line: runs each target, or says how to get what it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(SEEDS)}; all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    targets = arguments.targets or list(SEEDS)
    if unknown := set(targets) - set(SEEDS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        print("Skipped: atheris is not installed here (pip install atheris; CPython on Linux).")
        return
    if arguments.here:
        _mutate(targets[0], arguments.seconds)
        return
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(arguments.seconds)]
    failed = [name for name in targets if subprocess.run([*command, name], check=False).returncode]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}; the inputs are in {FOLDER}")


def _mutate(name: str, seconds: int) -> None:
    """Runs one target in this process, which libFuzzer ends."""
    atheris = importlib.import_module("atheris")
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_text(seed, encoding="utf-8")
    with atheris.instrument_imports(include=READERS):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MOST_MEMORY_MB}"]
    options = [f"-max_len={LONGEST_BYTES}", f"-artifact_prefix={FOLDER / name}-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
