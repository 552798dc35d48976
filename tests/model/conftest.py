"""One tiny random causal LM per architecture, every weight non-trivial, so that no two sites can be mistaken for each other."""

import pytest
import torch
import transformers as hf

SIZES = {
    "vocab_size": 101,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
    "initializer_range": 0.2,
}
GROUPED = SIZES | {"num_key_value_heads": 1, "head_dim": 24}  # heads × d_head = 48, which is not d_model
GEMMA = GROUPED | {
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "query_pre_attn_scalar": 20,
    "pad_token_id": 0,
}
VISION = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 28, "patch_size": 14}
CONFIGS = {
    "gemma2": lambda: hf.Gemma2Config(**GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=5.0),
    "gemma3": lambda: hf.Gemma3Config(text_config=GEMMA, vision_config=VISION, mm_tokens_per_image=4, attn_implementation="eager"),
    "gemma3_text": lambda: hf.Gemma3TextConfig(**GEMMA),
    "gpt2": lambda: hf.GPT2Config(vocab_size=101, n_embd=32, n_layer=3, n_head=2, n_positions=64, attn_implementation="sdpa"),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**SIZES),
    "gpt_neox-sequential": lambda: hf.GPTNeoXConfig(**SIZES | {"use_parallel_residual": False}),
    "llama": lambda: hf.LlamaConfig(**GROUPED | {"attn_implementation": "sdpa"}),
    "mistral": lambda: hf.MistralConfig(**GROUPED, sliding_window=3),
    "qwen2": lambda: hf.Qwen2Config(**SIZES, num_key_value_heads=1),
    "qwen3": lambda: hf.Qwen3Config(**GROUPED | {"attn_implementation": "sdpa"}),
}
CLASSES = {
    "gemma2": hf.Gemma2ForCausalLM,
    "gemma3": hf.Gemma3ForConditionalGeneration,
    "gemma3_text": hf.Gemma3ForCausalLM,
    "gpt2": hf.GPT2LMHeadModel,
    "gpt_neox": hf.GPTNeoXForCausalLM,
    "llama": hf.LlamaForCausalLM,
    "mistral": hf.MistralForCausalLM,
    "qwen2": hf.Qwen2ForCausalLM,
    "qwen3": hf.Qwen3ForCausalLM,
}


def build(name: str) -> hf.PreTrainedModel:
    torch.manual_seed(sum(map(ord, name)))
    config = CONFIGS[name]()
    model = CLASSES[config.model_type](config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases, and gains that are neither 0 nor 1
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="session", params=list(CONFIGS))
def lm(request: pytest.FixtureRequest) -> hf.PreTrainedModel:
    """A causal LM of each architecture in turn; tests leave it as they found it."""
    return build(request.param)


@pytest.fixture(scope="session")
def llama() -> hf.PreTrainedModel:
    """One of them, where the architecture makes no difference."""
    return build("llama")


@pytest.fixture(scope="session")
def neox() -> hf.PreTrainedModel:
    """The one whose attention and MLP read the same residual."""
    return build("gpt_neox")


@pytest.fixture(scope="session")
def tokens() -> torch.Tensor:
    return torch.tensor([[2, 17, 40, 3, 88, 17, 61], [2, 9, 9, 54, 30, 77, 100]])
