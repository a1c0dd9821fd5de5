"""Language models from packages, where they are on this machine: fetching them takes 238 and 93 MB, and Gemma's terms
take consent.
"""

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from harness.model import build_model, model_tokens
from harness.model.hf_loading import base_folder
from harness.system import assets

TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. "
    "Water boils at a lower temperature at high altitude because the air pressure is lower there."
)


SIZES = {"gemma3_270m": 268_098_176, "smollm2_135m": 134_515_008}


@pytest.fixture(params=SIZES)
def config(compose_plain, request):
    consent = ["model.accept_licence=true"] if request.param == "gemma3_270m" else []
    found = compose_plain(f"model={request.param}", *consent, "task=seq2seq", "trainer.objective=loss").model
    try:
        with assets.cached_only():
            base_folder(found, weights=True)
    except assets.Unreachable:
        pytest.skip(f"not on this machine: python -m harness run=count model={request.param} {' '.join(consent)}")
    return found


def test_it_reads_english_as_transformers_does(config):
    told = model_tokens(config)
    tokenizer = Tokenizer.from_file(str(told.tokenizer))
    for text in (TEXT, "  Größe, 東京, naïve – 🙂\n\ttabs"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    own = build_model(config, 0).eval()
    assert sum(tensor.numel() for tensor in own.parameters()) == SIZES[config.name]
    theirs = AutoModelForCausalLM.from_pretrained(base_folder(config, weights=True)).eval()
    ids = torch.tensor([tokenizer.encode(TEXT).ids])
    assert told.begin in (None, ids[0, 0])
    with torch.no_grad():
        logits = own({"ids": ids, "mask": torch.ones_like(ids)})
        torch.testing.assert_close(logits, theirs(ids).logits, rtol=0, atol=0)
    nats = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    assert 2 < nats < 3.5
