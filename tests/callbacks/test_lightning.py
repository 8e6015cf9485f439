"""The callback in a real Lightning `Trainer`, on a tiny module."""

from pathlib import Path
from typing import Any

import pytest

lightning = pytest.importorskip("lightning", reason="needs lightning: make test-callbacks")
torch = pytest.importorskip("torch", reason="needs torch: make test-callbacks")


class Images(lightning.LightningModule):  # type: ignore[name-defined]
    """A convolution and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))

    def training_step(self, batch: Any, index: int) -> Any:
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.layers(images), labels)

    def validation_step(self, batch: Any, index: int) -> None:
        self.training_step(batch, index)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fitted(callback: Any, folder: Path, **more: Any) -> Any:
    images = torch.utils.data.TensorDataset(torch.randn(320, 3, 8, 8), torch.randint(0, 2, (320,)))
    loader = torch.utils.data.DataLoader(images, batch_size=4)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, callbacks=[callback], logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder, **more,
    )  # fmt: skip
    trainer.fit(Images(), loader, torch.utils.data.DataLoader(images, batch_size=64))
    return trainer


def test_it_fills_the_configuration_from_module_and_trainer(tmp_path: Path) -> None:
    from service.callbacks.lightning import TraincastCallback

    callback = TraincastCallback(warm_up_steps=2, window_steps=5, model={"family": "cnn"})
    fitted(callback, tmp_path, accumulate_grad_batches=2, precision="bf16-mixed")
    made = callback.measurement
    assert made is not None
    assert made["model"] == {"name": "Images", "parameters": 3 * 4 * 9 + 4 + 2 * 4 * 36 + 2, "family": "cnn"}
    assert made["data"] == {"image_size": 8}
    assert made["training"] == {
        "optimizer": "sgd",
        "precision": "bf16",
        "weight_precision": "fp32",
        "global_batch": 8,
        "micro_batch": 4,
        "gradient_accumulation": 2,
        "data_parallel": 1,
        "sharding": "none",
    }
    assert made["software"] == {"framework": "pytorch-lightning", "framework_version": lightning.__version__}


def test_validation_is_not_training(tmp_path: Path) -> None:
    from service.callbacks.lightning import TraincastCallback

    often = TraincastCallback(warm_up_steps=0, window_steps=20)
    fitted(often, tmp_path, val_check_interval=10)
    assert often.measurement is None, "every window was interrupted"
    seldom = TraincastCallback(warm_up_steps=0, window_steps=20)
    fitted(seldom, tmp_path)
    assert seldom.measurement is not None
