"""The arithmetic of a model's size, against numbers computed by hand and parameters that model cards state."""

from pathlib import Path

import pytest
from builders import run_config
from omegaconf import OmegaConf

from vbench.metrics.model_cost import compute_model_cost
from vbench.schema import Model, from_plain

MODELS = Path(__file__).parents[2] / "conf" / "model"
GIB = 2**30


def cost(name):
    return compute_model_cost(from_plain(Model, OmegaConf.to_container(OmegaConf.load(MODELS / f"{name}.yaml"))))


def small(**facts):
    return compute_model_cost(run_config(model={"num_hidden_layers": 1, **facts}).model)


def test_a_dense_model_has_embedding_head_attention_feed_forward_and_norms():
    matrices = 256 * 32 * (8 + 2 + 2 + 8) + 3 * 256 * 1024  # query, key, value, output; gate, up, down
    dense = small(config_json={"tie_word_embeddings": False})
    assert dense.parameters == 2 * 32000 * 256 + matrices + 3 * 256
    assert small(config_json={"tie_word_embeddings": True}).parameters == dense.parameters - 32000 * 256
    assert dense.weight_bytes == 2 * dense.parameters
    assert dense.dense_bytes == 2 * (dense.parameters - 32000 * 256)  # a step looks up rows of the embedding
    assert dense.layer_flops_per_token == 2 * (matrices + 2 * 256 + 0)


def test_of_experts_a_step_reads_those_that_its_tokens_touch():
    tied = {"tie_word_embeddings": True}
    moe = small(num_experts=4, num_experts_per_tok=1, moe_intermediate_size=64, config_json=tied)
    assert moe.expert_bytes == 2 * 3 * 256 * 64
    assert moe.count_touched_experts(1) == pytest.approx(1)
    assert moe.count_touched_experts(2) == pytest.approx(4 * (1 - 0.75**2))
    assert moe.step_weight_bytes(10**6) == pytest.approx(moe.weight_bytes, rel=1e-6)  # its embedding is its head


@pytest.mark.parametrize(
    ("model", "gib"),  # as vLLM 0.26 logged "Model loading took" on one H200
    [("qwen3_30b_a3b", 56.88), ("mixtral8x7b", 87.0)],
)
def test_weight_bytes_are_those_that_vllm_logged(model, gib):
    assert cost(model).weight_bytes / GIB == pytest.approx(gib, rel=0.001)


def test_a_window_bounds_what_a_request_holds_and_reads():
    model = cost("gpt_oss_120b")
    per_layer = 2 * 8 * 64 * 2
    assert model.kv_bytes_per_token == 36 * per_layer
    assert model.request_kv_bytes(1000) == 18 * per_layer * (1000 + 128)


def test_attention_flops_are_those_of_causal_pairs_within_the_window():
    full = small(num_attention_heads=2, head_dim=4)
    assert full.attention_flops(3) == 4 * 2 * 4 * (1 + 2 + 3)
    assert full.attention_flops(1, context=9) == 4 * 2 * 4 * 10
    windowed = small(num_attention_heads=2, head_dim=4, sliding_window=2)
    assert windowed.attention_flops(3) == 4 * 2 * 4 * (1 + 2 + 2)
    assert windowed.attention_flops(1, context=9) == 4 * 2 * 4 * 2


def test_latent_attention_keeps_one_compressed_vector_a_token():
    ranks = {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
    latent = small(num_attention_heads=2, config_json=ranks)
    (kv,) = latent.kv
    assert (kv.kind, kv.bytes_per_token, kv.heads) == ("latent", (16 + 4) * 2, 1)
    attention = 256 * 24 + 24 * 2 * 12 + 256 * 20 + 16 * 2 * 16 + 2 * 8 * 256
    assert latent.layer_flops_per_token == 2 * (attention + 3 * 256 * 1024 + 2 * 256)


def test_linear_attention_keeps_a_state_whatever_the_length():
    facts = {
        "full_attention_interval": 2, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4,
    }  # fmt: skip
    model = small(num_hidden_layers=2, config_json=facts)
    state = (2 * 2 * 8 + 4 * 8) * 3 + 4 * 8 * 8
    assert model.request_kv_bytes(0) == 2 * state
    assert model.request_kv_bytes(10) - model.request_kv_bytes(0) == 10 * model.kv_bytes_per_token


@pytest.mark.parametrize(
    ("quantization", "bits"),  # of a weight of a 256 × 256 matrix, its scales included
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 128**2),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4 + 8 / 16),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}}
                },
            },
            4 + 16 / 32,
        ),
    ],
)
def test_a_quantized_matrix_takes_its_bits_and_its_scales(quantization, bits):
    facts = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 32, "intermediate_size": 256}
    plain = small(**facts, config_json={"tie_word_embeddings": True})
    packed = small(**facts, config_json={"tie_word_embeddings": True, "quantization_config": quantization})
    assert plain.weight_bytes - packed.weight_bytes == pytest.approx(7 * 256 * 256 * (16 - bits) / 8)


def test_layers_that_a_quantization_leaves_out_keep_two_bytes():
    left_out = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.self_attn", "re:.*down_proj"]}
    model = small(config_json={"quantization_config": left_out, "tie_word_embeddings": True})
    kept = 32000 * 256 + 256 * 32 * 20 + 256 * 1024 + 3 * 256
    assert model.weight_bytes == pytest.approx(2 * kept + 2 * 256 * 1024, rel=1e-6)


def test_each_group_of_layers_has_the_scheme_that_targets_it_and_the_rest_keeps_two_bytes():
    """FP8 in attention, NVFP4 in gate and up; nothing targets the down-projection."""
    groups = {
        "group_0": {
            "targets": ["re:.*self_attn.*"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
        },
        "group_1": {
            "targets": ["re:.*gate_proj", "re:.*up_proj"],
            "format": "nvfp4-pack-quantized",
            "weights": {"num_bits": 4, "type": "float", "group_size": 16},
        },
    }
    stated = {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": groups}
    plain = small(config_json={"tie_word_embeddings": True})
    mixed = small(config_json={"tie_word_embeddings": True, "quantization_config": stated})
    attention, scales = 256 * 32 * 20, 4 * (256 + 64 + 64 + 256)
    saved = attention - scales + 2 * 256 * 1024 * (16 - 4.5) / 8
    assert plain.weight_bytes - mixed.weight_bytes == pytest.approx(saved)


def test_what_gptq_s_rules_leave_out_keeps_two_bytes():
    stated = {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*down_proj": {}}}
    every = {**stated, "dynamic": None}
    some, all_ = (
        small(config_json={"tie_word_embeddings": True, "quantization_config": each}).weight_bytes
        for each in (stated, every)
    )
    assert some - all_ == pytest.approx(256 * 1024 * (16 - 4 - 20 / 128) / 8)


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"quant_method": "nf3"}, "nf3"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "modelopt MIXED_PRECISION"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "modelopt W4A8_AWQ"),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*down_proj": {"bits": 8}}}, "a rule of their own"),
    ],
)
def test_an_unknown_quantization_is_refused_by_name(stated, named):
    with pytest.raises(ValueError, match=named):
        small(config_json={"quantization_config": stated})


def test_a_cache_in_nvfp4_has_a_scale_for_each_16_elements():
    assert small(kv_cache_dtype="nvfp4").kv_bytes_per_token == small().kv_bytes_per_token * 4.5 / 16
