"""Models by their hub id or folder: their facts, the dummy model made of them, and what is refused."""

import json
import struct

import pytest
from doors import vbench
from fake_hub import Model as Repository
from fake_hub import serving

from vbench.engine.dummy import build_config_json
from vbench.engine.published import make_model, read_model
from vbench.metrics.model_cost import compute_model_cost
from vbench.metrics.model_facts import read_facts
from vbench.plan.positions import default_context, longest_context
from vbench.schema.errors import Refused

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 256,
    "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32000,
    "max_position_embeddings": 4096, "rope_theta": 500000.0, "torch_dtype": "bfloat16", "bos_token_id": 1,
}  # fmt: skip


def write_folder(folder, config, tensors=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if tensors:
        (folder / "model.safetensors").write_bytes(write_tensors(tensors))
    return folder


def write_tensors(sizes):
    """A safetensors file whose tensors have these bytes, without their content: only its header is ever read."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def test_a_folder_gives_the_facts_of_its_config_and_the_bytes_of_its_headers(tmp_path):
    folder = write_folder(tmp_path / "my model", LLAMA, {"a": 600, "b": 400})
    model = read_model(f"path:{folder}")
    assert (model.name, model.hub_id, model.architecture) == ("my_model", str(folder), "LlamaForCausalLM")
    assert (model.head_dim, model.num_key_value_heads, model.rope_theta) == (64, 2, 500000.0)
    assert (model.weight_bytes, model.revision) == (1000, None)


def test_the_limit_of_a_tokenizer_bounds_no_context_and_of_two_in_the_config_the_larger_can_be_served(tmp_path):
    """As vLLM 0.32.0 serves them: all positions of the config; of Phi-3's kind 4096 where no length is given."""
    folder = write_folder(tmp_path / "llama", LLAMA)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 2048}')
    llama = read_model(f"path:{folder}")
    assert (default_context(llama), longest_context(llama)) == (4096, 4096)
    scaling = {"type": "longrope", "short_factor": [1.0] * 32, "long_factor": [2.0] * 32}
    limits = {"max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "rope_scaling": scaling}
    phi = read_model(f"path:{write_folder(tmp_path / 'phi', LLAMA | limits)}")
    assert (default_context(phi), longest_context(phi)) == (4096, 131072)


def test_the_dummy_model_is_built_of_the_config_as_published(tmp_path):
    model = read_model(f"path:{write_folder(tmp_path / 'm', {**LLAMA, 'odd_key': [1, 2]})}")
    assert build_config_json(model).items() >= {**LLAMA, "odd_key": [1, 2]}.items()
    assert "head_dim" not in build_config_json(model)


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        (
            {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_shared_experts": 1,
             "first_k_dense_replace": 1, "kv_lora_rank": 16,
             "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8},
            {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "head_dim": 12},
        ),
        ({"sliding_window": 4096, "use_sliding_window": False}, {"sliding_window": None}),
        ({"sliding_window": 128, "head_dim": 32}, {"sliding_window": 128, "head_dim": 32}),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, {"weight_dtype": "int4"}),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, {"weight_dtype": "fp8"}),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, {"weight_dtype": "nvfp4"}),
        (
            {"quantization_config": {"producer": {"name": "modelopt"}, "quantization": {
                "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}},
            {"weight_dtype": "nvfp4", "kv_cache_dtype": "fp8"},
        ),
        (
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {
                "dynamic": False, "num_bits": 8, "type": "float"}}},
            {"weight_dtype": "fp8", "kv_cache_dtype": "fp8"},
        ),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8},
             "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 32}}}}},
            {"weight_dtype": "mxfp4", "kv_cache_dtype": "fp8"},
        ),
        (
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {
                "dynamic": True, "num_bits": 8, "type": "float"}}},
            {"kv_cache_dtype": "bfloat16"},
        ),
        ({"quantization_config": {"quant_method": "fp8", "kv_cache_scheme": {}}}, {"kv_cache_dtype": "bfloat16"}),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {
                "group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}}}},
            {"weight_dtype": "int4"},
        ),
        ({"rope_theta": None, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, {"rope_theta": 1e6}),
    ],
)  # fmt: skip
def test_each_family_names_its_facts_in_its_own_way(config, facts):
    model = make_model("hf:a/b", "a/b", {**LLAMA, **config}, None, None)
    assert {key: getattr(model, key) for key in facts} == facts
    assert compute_model_cost(model).parameters > 0


def test_a_model_that_sees_images_has_the_facts_of_its_text():
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "vision_config": {"hidden_size": 99},
        "text_config": {**LLAMA, "model_type": "gemma3_text", "sliding_window": 1024, "sliding_window_pattern": 2},
    }  # fmt: skip
    model = make_model("hf:a/b", "a/b", config, None, None)
    assert (model.architecture, model.model_type) == ("Gemma3ForConditionalGeneration", "gemma3_text")
    assert [layer.kind for layer in read_facts(model).layers] == ["sliding", "full"]
    assert build_config_json(model)["model_type"] == "gemma3"


def test_linear_attention_has_the_parameters_that_its_card_states():
    """Qwen3-Next 80B-A3B: every fourth layer is attention, the others gated delta nets; one shared expert."""
    config = {
        "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "num_hidden_layers": 48,
        "hidden_size": 2048, "intermediate_size": 5120, "num_attention_heads": 16, "num_key_value_heads": 2,
        "head_dim": 256, "vocab_size": 151936, "max_position_embeddings": 262144, "num_experts": 512,
        "num_experts_per_tok": 10, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "full_attention_interval": 4, "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_value_head_dim": 128, "tie_word_embeddings": False, "use_sliding_window": False,
    }  # fmt: skip
    cost = compute_model_cost(make_model("hf:a/b", "a/b", config, None, None))
    assert cost.parameters == pytest.approx(80e9, rel=0.01)
    assert cost.active_parameters == pytest.approx(3.9e9, rel=0.1)  # 3 of the layers, 0.6 of embedding and head
    assert [(kv.kind, kv.layers) for kv in cost.kv] == [("linear", 36), ("full", 12)]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"hybrid_override_pattern": "M*M*"}, "hybrid_override_pattern"),
        ({"layer_types": ["conv", "full_attention"]}, "layer_types: conv"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "layer_types: linear_attention"),
        ({"attn_layer_period": 8, "mamba_d_state": 16}, "mamba_d_state"),
    ],
)
def test_layers_of_a_kind_that_is_not_counted_have_no_size(config, named):
    model = make_model("hf:a/b", "a/b", LLAMA | config, None, None)
    with pytest.raises(ValueError, match=named):
        compute_model_cost(model)


@pytest.mark.parametrize(
    ("config", "routed"),
    [({"moe_layers": None}, [True, True]), ({"mlp_layer_types": ["dense", "sparse"]}, [False, True])],
)
def test_layers_with_experts_are_those_that_the_config_marks(config, routed):
    model = make_model("hf:a/b", "a/b", LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 1} | config, None, None)
    assert [layer.routed for layer in read_facts(model).layers] == routed


def test_modelopt_s_own_file_of_its_quantization_counts_as_part_of_the_config(tmp_path):
    inner = {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    stated = {"producer": {"name": "modelopt"}, "quantization": inner}
    plain = read_model(f"path:{write_folder(tmp_path / 'plain', LLAMA)}")
    folder = write_folder(tmp_path / "packed", LLAMA)
    (folder / "hf_quant_config.json").write_text(json.dumps(stated))
    packed = read_model(f"path:{folder}")
    assert (packed.weight_dtype, packed.kv_cache_dtype) == ("nvfp4", "fp8")
    assert build_config_json(packed)["quantization_config"] == stated
    matrices = 2 * (256 * 64 * (4 + 2 + 2 + 4) + 3 * 256 * 512)
    costs = compute_model_cost(plain), compute_model_cost(packed)
    assert costs[0].weight_bytes - costs[1].weight_bytes == pytest.approx(matrices * (16 - 4.5) / 8)
    assert costs[1].kv_bytes_per_token == costs[0].kv_bytes_per_token / 2 == 2 * 2 * 2 * 64


def test_modelopt_s_own_file_is_read_from_the_hub_too(tmp_path):
    stated = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None}}
    files = {"config.json": json.dumps(LLAMA).encode(), "hf_quant_config.json": json.dumps(stated).encode()}
    with serving({"org/Packed": Repository(files)}) as hub:
        words = ("fit", "model=hf:org/Packed", "hardware=1xh100", "format=json")
        ended = vbench(*words, cwd=tmp_path, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"))
    assert ended.returncode == 0, ended.stderr
    terms = {term["name"]: term["gib"] for term in json.loads(ended.stdout)["terms"]}
    assert terms["weights: attention, dense feed-forward"] == pytest.approx(1179648 / 2**30, abs=0.001)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3])
def test_weights_that_are_not_those_published_have_no_size(factor):
    counted = compute_model_cost(make_model("hf:a/b", "a/b", LLAMA, None, None)).weight_bytes
    model = make_model("hf:a/b", "a/b", LLAMA, int(factor * counted), None)
    with pytest.raises(ValueError, match=r"by its config.json its weights take .* but those published"):
        compute_model_cost(model)


@pytest.mark.parametrize(
    ("config", "factor"),
    [({}, 1.0), ({}, 1.05), ({"torch_dtype": "float32"}, 2.0), ({"vision_config": {"hidden_size": 9}}, 3.0)],
)
def test_published_weights_may_have_a_layer_more_another_type_or_a_tower(config, factor):
    counted = compute_model_cost(make_model("hf:a/b", "a/b", LLAMA | config, None, None)).weight_bytes
    model = make_model("hf:a/b", "a/b", LLAMA | config, int(factor * counted), None)
    assert compute_model_cost(model).weight_bytes == counted


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({**LLAMA, "architectures": []}, "its config.json has no architectures"),
        ({"architectures": ["X"], "model_type": "x"}, "its config.json has no num_attention_heads"),
    ],
)
def test_a_config_that_lacks_a_fact_is_refused_by_its_name(config, line):
    with pytest.raises(Refused, match=rf"^model=hf:a/b: {line}"):
        make_model("hf:a/b", "a/b", config, None, None)


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"^model=path:.*: .* has no config.json$"):
        read_model(f"path:{tmp_path}")


def test_a_model_of_the_hub_is_measured_by_its_config_and_index_and_no_weights_are_asked_for(tmp_path):
    size = compute_model_cost(make_model("hf:a/b", "a/b", LLAMA, None, None)).weight_bytes
    index = {"metadata": {"total_size": int(size)}, "weight_map": {}}
    files = {
        "config.json": json.dumps(LLAMA).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-00001-of-00001.safetensors": b"0" * 4096,
    }
    with serving({"org/Some-Model": Repository(files)}) as hub:
        words = ("fit", "-m", "model=hf:org/Some-Model@v1,hf:org/Some-Model", "hardware=1xh100")
        ended = vbench(*words, cwd=tmp_path, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"))
        assert ended.returncode == 0, ended.stderr
        assert [row.split()[0] for row in ended.stdout.splitlines()[1:]] == ["Some-Model"] * 2
        assert not any("safetensors" in file and "index" not in file for file in hub.sent)
        absent = vbench("fit", "model=hf:org/Other", "hardware=1xh100", cwd=tmp_path, HF_ENDPOINT=hub.url)
    assert absent.returncode == 2
    assert absent.stderr.startswith(f"vbench: model=hf:org/Other: not on {hub.url}, or private; check the name")
    assert absent.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"a'),
        ("config.json", b"\xff\xfe"),
        ("config.json", b"[1]"),
        ("config.json", json.dumps(LLAMA | {"hidden_size": "wide"}).encode()),
        ("config.json", json.dumps(LLAMA | {"architectures": 7}).encode()),
        ("config.json", json.dumps(LLAMA | {"rope_theta": "x"}).encode()),
        ("model.safetensors.index.json", b"[]"),
        ("model.safetensors.index.json", b'{"metadata": {"total_size": "x"}}'),
        ("model.safetensors", b""),
        ("model.safetensors", struct.pack("<Q", 2) + b"[]"),
    ],
)
def test_a_damaged_file_of_a_model_is_refused_in_one_line(tmp_path, name, content):
    folder = write_folder(tmp_path / "model", LLAMA)
    (folder / name).write_bytes(content)
    with pytest.raises(Refused, match=f"^model=path:{folder}: .*is damaged: ") as refused:
        read_model(f"path:{folder}")
    assert len(str(refused.value).splitlines()) == 1


def test_weights_that_git_lfs_has_not_brought_are_told_as_that(tmp_path):
    folder = write_folder(tmp_path / "model", LLAMA)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(Refused, match="`git lfs pull` brings the file"):
        read_model(f"path:{folder}")
