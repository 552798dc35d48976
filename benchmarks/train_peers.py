"""SAEs trained by other tools on saved activations, for `hooke eval` to judge beside ours. Runs in the other tools' own environment.

    PEERS/bin/python benchmarks/train_peers.py ACTS.pt OUT_FOLDER 4096 655360 --batch 1024 --l0 50
    python benchmarks/train.py ACTS.pt batchtopk 4096 655360 --batch 1024 --save OUT_FOLDER

Each tool as its documentation trains: SAELens' BatchTopK and TopK, sparsify's TopK. ACTS.pt is what `train.py` reads.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

HELD_OUT, SITE = 20_000, "blocks.9.hook_resid_post"


def batches(acts: torch.Tensor, batch: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    while True:
        for rows in torch.randperm(len(acts), generator=generator).split(batch):
            if len(rows) == batch:
                yield acts[rows].float()


def saelens(acts: torch.Tensor, kind: str, options: argparse.Namespace, out: Path) -> None:
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    made = {"batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig), "topk": (TopKTrainingSAE, TopKTrainingSAEConfig)}
    sae_class, config_class = made[kind]
    config = config_class(
        d_in=acts.shape[1],
        d_sae=options.d_sae,
        k=options.l0,
        dtype="float32",
        device="cpu",
        normalize_activations="expected_average_only_in",
    )
    config.metadata.hook_name, config.metadata.model_name = SITE, "gemma-3-270m"
    config.metadata.context_size, config.metadata.prepend_bos = 128, True
    settings = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=options.tokens,
        device="cpu",
        autocast=True,
        lr=3e-4,
        lr_end=3e-5,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=options.tokens // options.batch // 5,
        n_restart_cycles=1,
        train_batch_size_samples=options.batch,
        dead_feature_window=1000,
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(cfg=settings, sae=sae_class(config), data_provider=batches(acts, options.batch))
    trained = trainer.fit()
    trained.save_inference_model(str(out))


def sparsify(acts: torch.Tensor, options: argparse.Namespace, out: Path) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    scale = acts.float().pow(2).sum(1).mean().sqrt() / acts.shape[1] ** 0.5
    coder = SparseCoder(acts.shape[1], SparseCoderConfig(num_latents=options.d_sae, k=options.l0), device="cpu", dtype=torch.float32)
    coder.b_dec.data = (acts[:50_000].float() / scale).mean(0)
    optimizer = torch.optim.Adam(coder.parameters(), lr=1e-3)
    stream = batches(acts, options.batch)
    for _ in range(options.tokens // options.batch):
        with torch.autocast("cpu", torch.bfloat16):
            result = coder(next(stream) / scale)
        result.fvu.backward()
        optimizer.step()
        optimizer.zero_grad()
        coder.set_decoder_norm_to_unit_norm()
    with torch.no_grad():  # on raw activations: codes come out in their units
        coder.encoder.bias *= scale
        coder.b_dec *= scale
    coder.save_to_disk(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("acts")
    parser.add_argument("out", type=Path)
    parser.add_argument("d_sae", type=int)
    parser.add_argument("tokens", type=int)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--l0", type=int, default=50)
    options = parser.parse_args()
    torch.manual_seed(0)
    acts = torch.load(options.acts, weights_only=True)[HELD_OUT:]
    jobs = {
        "sparsify-topk": lambda out: sparsify(acts, options, out),
        "saelens-batchtopk": lambda out: saelens(acts, "batchtopk", options, out),
        "saelens-topk": lambda out: saelens(acts, "topk", options, out),
    }
    for name, job in jobs.items():
        began = time.perf_counter()
        # sparsify's folders are named after the site, SAELens' after the SAE.
        job(options.out / name / ("layers.9" if name.startswith("sparsify") else name))
        print(json.dumps({"sae": name, "tokens": options.tokens, "seconds": round(time.perf_counter() - began, 1)}), flush=True)


if __name__ == "__main__":
    main()
