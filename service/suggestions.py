"""What a name that the vocabulary lacks most likely means: the way out that every error about a field gives."""

import difflib
from collections.abc import Sequence

_USUAL_NAMES = {
    "seq_len": "data.sequence_length", "seqlen": "data.sequence_length", "seq_length": "data.sequence_length",
    "max_length": "data.sequence_length", "context_length": "data.sequence_length",
    "batch_size": "training.global_batch", "batch": "training.global_batch",
    "global_batch_size": "training.global_batch", "gbs": "training.global_batch",
    "micro_batch_size": "training.micro_batch", "mbs": "training.micro_batch",
    "grad_accum": "training.gradient_accumulation", "tp": "training.tensor_parallel",
    "pp": "training.pipeline_parallel", "dp": "training.data_parallel", "cp": "training.context_parallel",
    "ep": "training.expert_parallel", "vpp": "training.virtual_pipeline", "gpu": "hardware.accelerator",
    "gpus": "hardware.count", "num_gpus": "hardware.count", "n_gpus": "hardware.count",
    "device": "hardware.accelerator", "dtype": "training.precision", "params": "model.parameters",
    "num_layers": "model.layers", "num_hidden_layers": "model.layers", "n_layers": "model.layers",
    "d_model": "model.hidden_size", "num_attention_heads": "model.attention_heads",
    "num_heads": "model.attention_heads", "n_heads": "model.attention_heads", "num_key_value_heads": "model.kv_heads",
    "ffn_hidden_size": "model.intermediate_size", "gmacs": "model.forward_gmacs",
    "activation_checkpointing": "training.recompute", "gradient_checkpointing": "training.recompute",
    "nodes": "hardware.count", "dataset": "data.name", "throughput": "result.value", "source": "provenance.source",
    "notes": "provenance.notes",
}  # fmt: skip


def closest_field(name: str, fields: Sequence[str]) -> str | None:
    """The one of ``fields`` that an unknown dotted or bare name most likely means; None if none is near."""
    last = name.rpartition(".")[2].lower()
    if (usual := _USUAL_NAMES.get(last)) is not None:
        return usual
    same_end = [field for field in fields if field.rpartition(".")[2] == last]
    if same_end:
        return same_end[0]
    close = difflib.get_close_matches(name.lower(), fields, n=1, cutoff=0.75)
    if close:
        return close[0]
    ends = {field.rpartition(".")[2]: field for field in reversed(fields)}
    close = difflib.get_close_matches(last, ends, n=1, cutoff=0.75)
    return ends[close[0]] if close else None
