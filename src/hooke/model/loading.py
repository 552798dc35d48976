"""Loading: models and tokenizers as the `transformers` library opens them, from a folder or a hub, and what went wrong in one sentence.

Importing this takes longer than opening a carried model, which has no need of it (`hooke.model.trunk`).
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging
from transformers.utils.peft_utils import find_adapter_config_file

from hooke.errors import BadConfig, BadFile, HookeError, LimitReached, Missing, ran_out_of_memory
from hooke.model.fetched import checked_downloads, not_found
from hooke.model.trunk import marks_of
from hooke.text.tokens import Tokenizer

# How layers are laid out over devices: as many as fit on each, in order.
_LAYOUT = {"device_map": "auto"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load(folder: str | Path, dtype: torch.dtype, ref: str, *, spread: bool = False) -> tuple[PreTrainedModel, Tokenizer]:
    """The model `ref` and its tokenizer, from a folder or a hub; `spread` over devices or processes if asked for."""
    with checked_downloads(folder):
        hf = load_hf(folder, dtype, ref, spread=spread)
        return hf, _load_tokenizer(folder, hf)


def load_hf(folder: str | Path, dtype: torch.dtype, ref: str, *, spread: bool = False) -> PreTrainedModel:
    """The model `ref` alone; `BadFile`, `Missing` or `LimitReached` where it cannot be loaded."""
    if spread and processes() == 1 and importlib.util.find_spec("accelerate") is None:
        raise Missing(f"spreading the model {ref!r} over devices needs accelerate: pip install accelerate.")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        adapter = find_adapter_config_file(str(folder))
        config = None if adapter else AutoConfig.from_pretrained(folder, trust_remote_code=False)
        # A configuration may name an attention kernel to be fetched and run; the library's own choice computes the same.
        loaded: Any = config and AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the shapes
            trust_remote_code=False,
            **((_LAYOUT if processes() == 1 else _cut(config, ref)) if spread else {}),
        )
    except HookeError:
        raise
    except Exception as error:  # the library raises whatever it meets
        if isinstance(error, OSError) and not Path(folder).is_dir():
            raise not_found(ref, error) from error
        raise _cannot_load(f"the model {ref!r}", error) from error
    if adapter:  # the library heeds it or passes it over, depending on what else is installed
        raise BadFile(f"with the model {ref!r} comes an adapter (adapter_config.json). Merge it into the weights, or load a model without.")
    hf, report = loaded
    if absent := sorted(report["missing_keys"]):  # the library would go on with random numbers in their place
        raise BadFile(f"the model {ref!r} lacks {len(absent)} of its weights, for example {absent[0]!r}.")
    if misfits := sorted(report["mismatched_keys"]):
        name, found, wanted = misfits[0][0], tuple(misfits[0][1]), tuple(misfits[0][2])
        raise BadFile(f"the weights of the model {ref!r} are not of the shapes its config.json says: {name!r} is {found}, not {wanted}.")
    if getattr(hf.config, "quantization_config", None) and not getattr(hf, "hf_quantizer", None):
        raise BadFile(f"the model {ref!r} is quantised in a way that transformers does not know. Use the model it was made from.")
    return hf


def processes() -> int:
    """How many processes this one has joined with, itself among them."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _cut(config: Any, ref: str) -> dict[str, Any]:
    """How the model `ref` is cut: of every layer, heads and rows of the MLP are shared out to the processes (tensor parallelism)."""
    size, text = processes(), config.get_text_config()
    if torch.cuda.is_available() and dist.get_backend() == "gloo":
        raise BadConfig("parts of a model lie on GPUs where a machine has any: give --device cuda.")
    if not getattr(text, "base_model_tp_plan", None):
        raise BadConfig(f"transformers knows no way to cut a {config.model_type} model into parts. Spread whole layers: --device auto.")
    heads = [text.num_attention_heads, getattr(text, "num_key_value_heads", text.num_attention_heads)]
    if any(count % size for count in heads):
        fits = ", ".join(str(few) for few in range(2, min(heads) + 1) if not any(count % few for count in heads))
        raise BadConfig(
            f"{ref} has {heads[0]} heads of attention and {heads[1]} of keys and values, which {size} processes cannot share out evenly"
            f"{f'; so many can: {fits}' if fits else ''}. Or spread whole layers: --device auto."
        )
    try:
        from transformers.distributed.configuration_utils import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_size=size, tp_plan="auto")}
    except (ImportError, TypeError) as error:
        raise Missing("cutting a model over processes needs a newer transformers, as 5.23: pip install -U transformers.") from error


def _cannot_load(what: str, error: Exception) -> HookeError:
    """What to raise where the library could not load `what`."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    if ran_out_of_memory(error):
        return LimitReached(f"not enough memory for {what}.")
    if isinstance(error, ImportError):
        return Missing(f"{what} needs what is not installed here: {said}")
    if "trust_remote_code" in str(error):
        return BadFile(f"{what} can only be loaded by running Python code that comes with it, which Hooke never does.")
    return BadFile(f"cannot load {what}: {said}")


def _load_tokenizer(folder: str | Path, hf: PreTrainedModel) -> Tokenizer:
    special, eos = marks_of(hf.config)
    if Path(folder).is_dir() and not any((Path(folder) / name).is_file() for name in _TOKENIZER_FILES):
        # The library would make an empty one, which reads every text as nothing.
        raise Missing(f"no tokenizer in {folder}: none of {', '.join(_TOKENIZER_FILES)} is there.")
    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except OSError as error:
        raise Missing(f"no tokenizer for {folder}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # the library raises whatever it meets, bare Exception included
        raise _cannot_load(f"the tokenizer of {folder}", error) from error
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise HookeError(f"the tokenizer of {folder} has no fast form (tokenizer.json), which Hooke needs.")
    return Tokenizer(backend, found.bos_token_id, {*special, *found.all_special_ids}, eos=eos)
