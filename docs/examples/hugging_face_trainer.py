"""Hugging Face: a callback of the Trainer that measures every few steps.

Needs: pip install transformers accelerate
"""

import tempfile

import torch
import transformers

import torch_ebpc


class MeasureActivations(transformers.TrainerCallback):
    """Puts a meter on the model for the whole of every few steps, and logs its ratios."""

    def __init__(self, layers, every=2):
        self.layers, self.every = layers, every
        self.meter, self.logged = None, []

    def on_step_begin(self, args, state, control, model, **kwargs):
        if state.global_step % self.every == 0:
            self.meter = torch_ebpc.CompressionMeter(model, self.layers)
            self.meter.__enter__()

    def on_step_end(self, args, state, control, **kwargs):
        if self.meter is not None:
            self.meter.__exit__(None, None, None)
            self.logged.append((state.global_step, self.meter.report()))
            self.meter = None


if __name__ == "__main__":
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, hidden_act="relu", num_labels=2,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)  # from a configuration: no download
    data = [{"input_ids": torch.randint(100, (12,)), "labels": i % 2} for i in range(16)]
    callback = MeasureActivations(torch.nn.ReLU)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, max_steps=4, per_device_train_batch_size=4, use_cpu=True, report_to="none",
            disable_tqdm=True, save_strategy="no",
        )  # fmt: skip
        transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()
    for step, report in callback.logged:
        print(f"step {step}: {report.total().ratio('ebpc'):.2f}")
    print(callback.logged[-1][1])
    assert [step for step, _ in callback.logged] == [1, 3]
