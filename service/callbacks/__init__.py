"""Measures a training run from inside it, and submits what it measured: for plain loops, Transformers and Lightning.

    with TrainingTimer(module=model, training={"global_batch": 256}, url=URL, key=KEY, submit=True) as timer:
        for batch in loader:
            ...
            optimizer.step()
            timer.step(samples=256)

`service.callbacks.huggingface.TraincastCallback` and `service.callbacks.lightning.TraincastCallback` do the same for a
`Trainer`. All are dry runs unless `submit=True`: they say what they would submit and leave it in `measurement`. Nothing
here raises into the training: what goes wrong is logged. Imports neither PyTorch nor the server.
"""

from service.callbacks.loop import TrainingTimer as TrainingTimer
