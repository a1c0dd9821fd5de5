"""The proofs of quantised weights, on a GPU: the tests are those of the CPU, on another device."""

import pytest

from tests.model import test_quantization as proofs

test_levels = proofs.test_nf4_has_the_published_levels_and_takes_the_nearest
test_int8 = proofs.test_int8_has_a_scale_for_each_output
test_layer = proofs.test_a_layer_is_one_of_floats_that_holds_its_weights
test_types = proofs.test_a_change_of_type_keeps_the_bits
test_lora = proofs.test_lora_is_that_over_the_dequantised_base
test_mixed = proofs.test_lora_in_mixed_precision_is_that_over_the_dequantised_base
test_peft = proofs.test_peft_over_the_base_that_transformers_quantises_is_ours
test_merging = proofs.test_merging_gives_floats_and_is_undone
test_counts = proofs.test_parameters_are_counted_as_numbers_and_memory_as_bytes
test_operations = proofs.test_operations_are_those_of_the_base_in_floats

pytestmark = pytest.mark.gpu


@pytest.fixture
def device() -> str:
    return "cuda"
