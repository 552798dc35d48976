"""SAEs judged against features that are known: a small SynthSAEBench (arXiv 2602.14687), Hooke's trainer beside SAELens' own.

    PEER/python benchmarks/synthetic.py write FOLDER --samples 2000000     activations and their truth, by SAELens' generator
    python benchmarks/synthetic.py ours FOLDER --seeds 0 1 2 --lr own 3e-3
    PEER/python benchmarks/synthetic.py theirs FOLDER --seeds 0 1 2 --lr own 3e-3
    python benchmarks/synthetic.py judge FOLDER                            all that was trained, by one set of formulas
    PEER/python benchmarks/synthetic.py check FOLDER                       those formulas beside SAELens' own, on the same SAEs

PEER has sae-lens (6.43 or newer). The benchmark's world, reduced: 2,048 features in 256 dimensions instead of 16,384 in 768, a quarter as
many to be learnt, and as many active as those are in truth. Every trainer gets the same samples, each once, in batches of the same size.
SAELens' own settings are those that it recommends for the benchmark (3e-4 throughout); with another --lr it trains as ours does: the rate
rises and falls alike, and features count as dead as soon. What was trained is left alone, so a run that was stopped goes on.
"""

import argparse
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

FEATURES, DIMENSIONS, BATCH = 2048, 256, 1024
# Held-out samples: the first set the thresholds, the others judge.
CALIBRATION, JUDGED = 10_240, 51_200
WARMUP, DECAY = 0.03, 0.3
# What is judged, and the digits it is shown with.
FIGURES = {"f1": 3, "precision": 3, "recall": 3, "mcc": 3, "uniqueness": 3, "explained_variance": 3, "l0": 1, "dead": 0}
# Of 4,096 features the benchmark's nested SAEs have 128, 512 and 2,048 in front.
NESTED = (32, 8, 2)


def world(folder: Path) -> Any:
    """The synthetic model, made once for a folder."""
    from sae_lens.synthetic import (
        FoldedNormalMagnitudeConfig,
        HierarchyConfig,
        LinearMagnitudeConfig,
        LowRankCorrelationConfig,
        OrthogonalizationConfig,
        SyntheticModel,
        SyntheticModelConfig,
        ZipfianFiringProbabilityConfig,
    )

    if (folder / "world").exists():
        return SyntheticModel.load_from_disk(folder / "world")
    config = SyntheticModelConfig(
        num_features=FEATURES,
        hidden_dim=DIMENSIONS,
        firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
        hierarchy=HierarchyConfig(
            total_root_nodes=16,  # of 128
            branching_factor=4,
            max_depth=3,
            mutually_exclusive_portion=1.0,
            mutually_exclusive_min_depth=0,
            compensate_probabilities=True,
            scale_children_by_parent=True,
        ),
        orthogonalization=OrthogonalizationConfig(num_steps=100, lr=3e-4),
        correlation=LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
        mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
        bias=0.5,
        seed=42,
    )
    model = SyntheticModel(config, device="cpu")
    model.save(folder / "world")
    return model


def write(folder: Path, options: argparse.Namespace) -> None:
    """``acts.npy`` to train on; ``held.npy`` and ``truth.npz``, which features are active in each of its rows, and how strongly."""
    folder.mkdir(parents=True, exist_ok=True)
    model = world(folder)
    torch.manual_seed(0)

    def drawn(count: int, path: Path) -> Iterator[Tensor]:
        rows = np.lib.format.open_memmap(path, "w+", np.float16, (count, DIMENSIONS))
        for first in range(0, count, BATCH):
            active = model.activation_generator(min(BATCH, count - first))
            rows[first : first + len(active)] = model.feature_dict(active).detach().half().numpy()
            yield active

    parts = [active.to_sparse_csr() for active in drawn(CALIBRATION + JUDGED, folder / "held.npy")]
    counts = torch.cat([part.crow_indices().diff() for part in parts])
    feature, value = torch.cat([part.col_indices() for part in parts]), torch.cat([part.values() for part in parts])
    share = torch.bincount(feature, minlength=FEATURES) / len(counts)
    l0 = round(float(share.sort(descending=True).values[: options.width].sum()))
    np.savez(
        folder / "truth.npz",
        features=model.feature_dict.feature_vectors.detach().numpy(),
        count=counts.numpy().astype(np.int16),
        feature=feature.numpy().astype(np.int16),
        value=value.numpy(),
    )
    settings = {"width": options.width, "l0": l0, "samples": options.samples // BATCH * BATCH, "true_l0": round(float(share.sum()), 2)}
    for _ in drawn(settings["samples"], folder / "acts.npy"):
        pass
    (folder / "settings.json").write_text(json.dumps(settings))
    print(json.dumps(settings))


def to_train(folder: Path, kinds: dict[str, Any], tool: str, options: argparse.Namespace) -> Iterator[tuple[Any, float | None, int, Path]]:
    """Each SAE that is to be trained and is not there yet: how it is made, its learning rate (None: the trainer's own), seed and folder."""
    for seed, lr, kind in itertools.product(options.seeds, options.lr, options.only or kinds):
        if kind not in kinds:
            raise SystemExit(f"{kind}: no kind of {tool}'s; there are {', '.join(kinds)}")
        out = folder / "saes" / f"{tool}, {kind}, lr {lr}, seed {seed}"
        if not (out / "run.json").exists():
            began = time.process_time()
            yield kinds[kind], None if lr == "own" else float(lr), seed, out
            row = {"tool": tool, "kind": kind, "lr": lr, "seed": seed, "processor_s": round(time.process_time() - began, 1)}
            (out / "run.json").write_text(json.dumps(row))
            print(json.dumps(row), flush=True)


def ours(folder: Path, options: argparse.Namespace) -> None:
    from hooke.names import Site
    from hooke.sae.formats import write_sae
    from hooke.train import InMemory, TrainConfig, train

    settings = json.loads((folder / "settings.json").read_text())
    width, site = settings["width"], Site(0, "resid_post")
    acts = torch.from_numpy(np.load(folder / "acts.npy", mmap_mode="c"))
    held = torch.from_numpy(np.load(folder / "held.npy")[:CALIBRATION])
    kinds = {
        "batchtopk": {},
        "batchtopk, AuxK 1": {"aux_weight": 1.0},  # as heavy as SAELens has it
        "matryoshka": {"prefixes": tuple(width // part for part in NESTED)},
        "two groups": {"prefixes": (width // 5,)},
        "frozen decoder": {"frozen": "decoder"},
    }
    for fields, lr, seed, out in to_train(folder, kinds, "hooke", options):
        config = TrainConfig(d_sae=width, l0=settings["l0"], steps=len(acts) // BATCH, seed=seed, lr=lr, **fields)
        name = f"synthetic/{site}/sae"
        saes = train({name: config}, InMemory({site: acts}, BATCH, seed=seed), {site: held}, model="synthetic", context=1)
        write_sae(saes[name], out, "saelens")


def theirs(folder: Path, options: argparse.Namespace) -> None:
    from sae_lens import BatchTopKTrainingSAEConfig, MatryoshkaBatchTopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.registry import get_sae_training_class
    from sae_lens.training.sae_trainer import SAETrainer

    settings = json.loads((folder / "settings.json").read_text())
    width, samples, steps = settings["width"], settings["samples"], settings["samples"] // BATCH
    acts = torch.from_numpy(np.load(folder / "acts.npy", mmap_mode="c"))
    common = {"d_in": DIMENSIONS, "d_sae": width, "k": settings["l0"], "device": "cpu"}
    widths = [*(width // part for part in NESTED), width]
    kinds = {
        "batchtopk": lambda: BatchTopKTrainingSAEConfig(**common),
        "matryoshka": lambda: MatryoshkaBatchTopKTrainingSAEConfig(**common, matryoshka_widths=widths, use_matryoshka_aux_loss=True),
    }
    for make, lr, seed, out in to_train(folder, kinds, "saelens", options):
        torch.manual_seed(seed)
        order = torch.randperm(len(acts), generator=torch.Generator().manual_seed(seed)).split(BATCH)
        config = make()
        config.metadata.hook_name, config.metadata.model_name = "blocks.0.hook_resid_post", "synthetic"
        trainer_config = SAETrainerConfig(
            n_checkpoints=0,
            checkpoint_path=None,
            save_final_checkpoint=False,
            total_training_samples=samples,
            device="cpu",
            autocast=False,
            lr=lr or 3e-4,
            lr_end=lr or 3e-4,
            lr_scheduler_name="constant",
            lr_warm_up_steps=int(WARMUP * steps) if lr else 0,
            lr_decay_steps=int(DECAY * steps) if lr else 0,
            adam_beta1=0.9,
            adam_beta2=0.999,
            n_restart_cycles=1,
            train_batch_size_samples=BATCH,
            dead_feature_window=max(4, steps // 160) if lr else 1000,
            feature_sampling_window=2000,
            logger=LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1),
        )
        sae = get_sae_training_class(config.architecture())[0](config)
        trainer = SAETrainer(cfg=trainer_config, sae=sae, data_provider=(acts[rows].float() for rows in order))
        trainer.fit().save_inference_model(str(out))


def active_features(folder: Path) -> Tensor:
    """Which features are active in each held-out sample that judges."""
    truth = np.load(folder / "truth.npz")
    rows = np.repeat(np.arange(CALIBRATION + JUDGED), truth["count"]) - CALIBRATION
    active = torch.zeros(JUDGED, FEATURES, dtype=torch.bool)
    active[rows[rows >= 0], truth["feature"][rows >= 0].astype(np.int64)] = True
    return active


def cosines(decoder: Tensor, features: Tensor) -> Tensor:
    return (torch.nn.functional.normalize(decoder, dim=1) @ torch.nn.functional.normalize(features, dim=1).T).abs()


def figures(sae: Any, acts: Tensor, active: Tensor, features: Tensor) -> dict[str, float]:
    """How well `sae` finds the truth: each of its features stands for the true one nearest to it, and is asked when that one is active."""
    cosine = cosines(sae.W_dec, features)
    best = cosine.argmax(1)
    hits, fired, error = torch.zeros(len(best)), torch.zeros(len(best)), 0.0
    for block, truth in zip(acts.split(4096), active.split(4096), strict=True):
        codes = sae.encode(block.float())
        on = codes.dense() > 0
        hits += (on & truth[:, best]).sum(0)
        fired += on.sum(0)
        error += float((sae.decode(codes) - block.float()).square().sum())
    precision, recall = hits / fired.clamp_min(1), hits / active.sum(0)[best].clamp_min(1)
    matched = cosine[linear_sum_assignment(cosine.numpy(), maximize=True)]
    varied = (acts.float() - acts.float().mean(0)).square().sum()
    return {
        "f1": float((2 * precision * recall / (precision + recall).clamp_min(1e-12)).mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "mcc": float(matched.mean()),
        "uniqueness": len(best.unique()) / len(best),
        "explained_variance": 1 - error / float(varied),
        "l0": float(fired.sum()) / len(acts),
        "dead": int((fired == 0).sum()),
    }


def judge(folder: Path, _: argparse.Namespace) -> None:
    from hooke.sae.formats import open_sae

    held, active = torch.from_numpy(np.load(folder / "held.npy")[CALIBRATION:]), active_features(folder)
    features = torch.from_numpy(np.load(folder / "truth.npz")["features"])
    groups = defaultdict(list)
    for path in sorted((folder / "saes").glob("*/run.json")):
        judged = path.parent / "judged.json"
        if not judged.exists():
            judged.write_text(json.dumps(figures(open_sae(path.parent), held, active, features)))
        row = json.loads(path.read_text()) | json.loads(judged.read_text())
        groups[row["tool"], row["kind"], row["lr"]].append(row)
    columns = FIGURES | {"processor_s": 1}
    print(f"\n| tool | kind | learning rate | seeds | {' | '.join(columns)} |\n|{' --- |' * (4 + len(columns))}")
    for key, rows in groups.items():
        cells = [_spread([row[name] for row in rows], digits) for name, digits in columns.items()]
        print(f"| {' | '.join(key)} | {len(rows)} | {' | '.join(cells)} |")


def _spread(values: list[float], digits: int) -> str:
    """Their mean, and by how much they differ from it at most."""
    mean = sum(values) / len(values)
    off = max(abs(value - mean) for value in values)
    return f"{mean:.{digits}f}" + (f" ± {off:.{digits}f}" if len(values) > 1 else "")


@torch.no_grad()
def check(folder: Path, _: argparse.Namespace) -> None:
    """SAELens' own evaluation of the first SAE of each tool on the same samples, beside `judge`'s figures of it."""
    from sae_lens import SAE
    from sae_lens.synthetic import eval_sae_on_synthetic_data

    model, truth, first = world(folder), np.load(folder / "truth.npz"), {}
    for path in sorted((folder / "saes").glob("*/judged.json")):
        first.setdefault(path.parent.name.partition(",")[0], path)

    def samples() -> Iterator[Tensor]:
        ends = truth["count"].astype(np.int64).cumsum()
        for begin in range(CALIBRATION, CALIBRATION + JUDGED, BATCH):
            active = torch.zeros(BATCH, FEATURES)
            rows = np.repeat(np.arange(BATCH), truth["count"][begin : begin + BATCH])
            own = slice(ends[begin - 1], ends[begin + BATCH - 1])
            active[rows, truth["feature"][own].astype(np.int64)] = torch.from_numpy(truth["value"][own])
            yield active

    for path in first.values():
        stored = samples()
        generator = SimpleNamespace(sample=lambda _, stored=stored: next(stored))
        sae = SAE.load_from_disk(str(path.parent), device="cpu")
        found = eval_sae_on_synthetic_data(sae, model.feature_dict, generator, num_samples=JUDGED, batch_size=BATCH).to_dict()
        found |= found["classification"] | {"l0": found["sae_l0"], "dead": found["dead_latents"]}
        found["f1"] = found["f1_score"]
        ours = json.loads(path.read_text())
        print(f"\n{path.parent.name}\n\n| | here | SAELens | difference |\n| --- | --- | --- | --- |")
        for name in FIGURES:
            print(f"| {name} | {ours[name]:.6f} | {found[name]:.6f} | {abs(ours[name] - found[name]):.0e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = {"write": write, "ours": ours, "theirs": theirs, "judge": judge, "check": check}
    parser.add_argument("step", choices=steps)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--width", type=int, default=512, help="features to be learnt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--lr", nargs="+", default=["own"])
    parser.add_argument("--only", nargs="+")
    options = parser.parse_args()
    steps[options.step](options.folder, options)


if __name__ == "__main__":
    main()
