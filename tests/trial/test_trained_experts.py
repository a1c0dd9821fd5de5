"""A trial that trains the experts of a mixture: what is recorded, and loaded elsewhere."""

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification

from harness.trial.adapt import count
from harness.trial.export import export_trial
from tests.model.small import IDS, MASK, save_small
from tests.trial.test_export import logits_of, trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import based_on, reviews  # noqa: F401  a fixture


def test_experts_are_trained_counted_and_load_elsewhere(trained, reviews, compose_plain, tmp_path):  # noqa: F811
    network = save_small(AutoModelForSequenceClassification, "mixtral", tmp_path / "base", num_labels=2)
    words = [*reviews, *based_on(tmp_path / "base"), "lora.targets=[experts,query]", "lora.rank=2"]
    made = trained(*words)
    config = network.config
    a_layer = config.num_local_experts * (2 * config.hidden_size + 3 * config.intermediate_size)
    query = config.hidden_size + config.num_attention_heads * network.model.layers[0].self_attn.head_dim
    expected = 2 * config.num_hidden_layers * (a_layer + query)
    assert made.entry.parameters.adapter == expected
    assert count(compose_plain(*words, "run=count"))["params"]["adapter"] == expected
    assert made.entry.merge.max_logit_difference < 1e-3 * made.entry.merge.max_logit
    export_trial(made, tmp_path / "whole", merged=True)
    export_trial(made, tmp_path / "adapter", merged=False)
    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=2).eval()
    with torch.no_grad():
        for loaded in (ours, theirs):
            found = loaded(IDS, attention_mask=MASK).logits
            torch.testing.assert_close(found, logits_of(made), rtol=1e-4, atol=1e-4)
