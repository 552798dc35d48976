"""Loading: models and tokenizers as the `transformers` library opens them, from a folder or a hub, and what went wrong in one sentence.

Importing this takes longer than opening a carried model, which has no need of it (`hooke.model.trunk`).
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging
from transformers.utils.peft_utils import find_adapter_config_file

from hooke.errors import BadFile, HookeError, LimitReached, Missing, ran_out_of_memory
from hooke.model.fetched import checked_downloads, not_found
from hooke.model.trunk import marks_of
from hooke.text.tokens import Tokenizer

# How layers are laid out over devices: as many as fit on each, in order.
_LAYOUT = {"device_map": "auto"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load(folder: str | Path, dtype: torch.dtype, ref: str, *, spread: bool = False) -> tuple[PreTrainedModel, Tokenizer]:
    """The model `ref` and its tokenizer, from a folder or a hub; its layers `spread` over devices if asked for."""
    with checked_downloads(folder):
        hf = load_hf(folder, dtype, ref, spread=spread)
        return hf, _load_tokenizer(folder, hf)


def load_hf(folder: str | Path, dtype: torch.dtype, ref: str, *, spread: bool = False) -> PreTrainedModel:
    """The model `ref` alone; `BadFile`, `Missing` or `LimitReached` where it cannot be loaded."""
    if spread and importlib.util.find_spec("accelerate") is None:
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
            **(_LAYOUT if spread else {}),
        )
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
