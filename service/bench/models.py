"""The models, in `torch.nn` alone: GPT-like decoder, BERT-like encoder, ResNet-50, LSTM language model."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from service.bench.workloads import Workload


def build(workload: Workload, device: str) -> nn.Module:
    """The workload's model with random weights; called with a batch, it gives the loss.

    Args:
        workload: What to build.
        device: Where its weights lie, e.g. `cuda`.
    """
    with torch.device(device):
        if workload.family == "cnn":
            return Classifier(resnet_50())
        if workload.family == "rnn":
            return Lstm(workload)
        return Transformer(workload)


def batch_of(workload: Workload, size: int, device: str) -> tuple[Any, ...]:
    """A made-up batch: token ids, or images and their labels.

    Args:
        workload: What is trained.
        size: Samples.
        device: Where it lies.
    """
    if workload.family == "cnn":
        images = torch.randn(size, 3, workload.image_size, workload.image_size, device=device)
        return images, torch.randint(0, 1000, (size,), device=device)
    ids = torch.randint(0, workload.vocabulary, (size, workload.sequence_length + 1), device=device)
    return ids[:, :-1], ids[:, 1:].contiguous()


class Attention(nn.Module):
    """Multi-head attention by `scaled_dot_product_attention`, whose kernel the caller chooses."""

    def __init__(self, hidden: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.inner = nn.Linear(hidden, 3 * hidden)
        self.outer = nn.Linear(hidden, hidden)

    def forward(self, x: Any) -> Any:
        batch, length, hidden = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.inner(x).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.outer(mixed.transpose(1, 2).reshape(batch, length, hidden))


class Block(nn.Module):
    """Attention and a feed-forward layer four times as wide, each normalised before and added."""

    def __init__(self, hidden: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = Attention(hidden, heads, causal)
        self.feed_forward = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden))

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """A decoder or encoder with learned positions, whose head shares the embedding's weights."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        hidden = workload.hidden_size
        self.embedding = nn.Embedding(workload.vocabulary, hidden)
        self.positions = nn.Parameter(torch.zeros(workload.sequence_length, hidden))
        causal = workload.family == "decoder"
        self.blocks = nn.Sequential(
            *(Block(hidden, workload.attention_heads, causal) for _ in range(workload.layers)), nn.LayerNorm(hidden)
        )

    def forward(self, ids: Any, targets: Any) -> Any:
        x = self.blocks(self.embedding(ids) + self.positions[: ids.shape[1]])
        return functional.cross_entropy(functional.linear(x, self.embedding.weight).flatten(0, 1), targets.flatten())


class Lstm(nn.Module):
    """A language model of stacked LSTM layers."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        hidden = workload.hidden_size
        self.embedding = nn.Embedding(workload.vocabulary, hidden)
        self.layers = nn.LSTM(hidden, hidden, workload.layers, batch_first=True)
        self.head = nn.Linear(hidden, workload.vocabulary)

    def forward(self, ids: Any, targets: Any) -> Any:
        x, _ = self.layers(self.embedding(ids))
        return functional.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())


class Classifier(nn.Module):
    """A network of images with the loss of its classes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Any, labels: Any) -> Any:
        return functional.cross_entropy(self.network(images), labels)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolutions, added to their input."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        outer = 4 * width
        self.layers = nn.Sequential(
            *_convolution(inner, width, 1), nn.ReLU(inplace=True),
            *_convolution(width, width, 3, stride), nn.ReLU(inplace=True), *_convolution(width, outer, 1),
        )  # fmt: skip
        same = stride == 1 and inner == outer
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(inner, outer, 1, stride))

    def forward(self, x: Any) -> Any:
        return functional.relu(self.layers(x) + self.shortcut(x), inplace=True)


def resnet_50() -> nn.Sequential:
    """ResNet-50 for a thousand classes."""
    layers: list[nn.Module] = [
        *_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1),
    ]  # fmt: skip
    inner = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(inner, width, stride if block == 0 else 1))
            inner = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, 1000))


def _convolution(inner: int, outer: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inner, outer, size, stride, size // 2, bias=False), nn.BatchNorm2d(outer)
