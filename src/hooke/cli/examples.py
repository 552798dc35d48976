"""Examples: what people would type, at the end of every command's help; each is parsed by a test."""

EXAMPLES = {
    "ablate": """
hooke ablate 12/2789 "Striker scores twice in cup final"
hooke ablate 12/54 12/99 headlines.txt --html without.html""",
    "analyze": """
hooke analyze "Rates held at 4.5% as inflation eases"
hooke analyze headlines.csv --column headline --csv features.csv
cat headlines.txt | hooke analyze - --jsonl
hooke analyze headlines.txt --sae 5 --sae 15 --top 4 --html report.html""",
    "atlas build": """
hooke atlas build gemma-3-270m/resid_post.12/8k --corpus news.jsonl.zst
hooke atlas build sae.safetensors --corpus texts/ --tokens 500k --out my.sqlite""",
    "atlas check": """
hooke atlas check
hooke atlas check my.sqlite --json""",
    "atlas effects": """
hooke atlas effects 12
hooke atlas effects 12 --dose 1 --atlas my.sqlite --json""",
    "atlas export": """
hooke atlas export features.jsonl --sae 12
hooke atlas export folder --to neuronpedia""",
    "attribute": """
hooke attribute "The central bank raised interest" --token " rates"
hooke attribute "The match ended in a" --token " draw" --against " win" --method integrated --json""",
    "audit": """
hooke audit plan.toml --html audit.html""",
    "convert": """
hooke convert 12 folder --to saelens
hooke convert gemma-scope-2b-pt-res/layer_20/width_16k/canonical sae.safetensors""",
    "diff": """
hooke diff headlines.jsonl --by outlet --html differences.html
hooke diff left.txt right.txt
hooke diff articles.csv --column body --trend date --family author""",
    "eval": """
hooke eval 12/8k --corpus news.jsonl.zst --tokens 100k
hooke eval run/saes/a.safetensors 12 --corpus news.jsonl --html report.html""",
    "explain": """
hooke explain 12 --features 0-99 --endpoint http://localhost:8000/v1 --model-name NAME
hooke explain 12 --sample 200 --batch-out requests.jsonl
hooke explain 12 --check
hooke explain mine.safetensors --marks --on titles.txt --batch-out sheets.jsonl
hooke explain 12 --marks --words --on headlines.txt --batch-out sheets.jsonl""",
    "feature": """
hooke feature 12/54
hooke feature gemma-3-270m/resid_post.12/8k/54 --html feature.html
hooke feature 12/99 --star --note 'fires in headlines on rates'""",
    "finetune": """
hooke finetune 12 --corpus news.jsonl.zst --tokens 2M --out tuned.safetensors""",
    "harvest": """
hooke harvest --corpus news.jsonl.zst --site resid_post.12 --tokens 2M --out acts
hooke harvest --corpus news.jsonl.zst --site resid_post.12 --tokens 2M --out acts --engine ray""",
    "inspect": """
hooke inspect 12
hooke inspect org/repo/layer_20 --json""",
    "lens": """
hooke lens "Rates held at 4.5% as inflation eases"
hooke lens "Striker scores twice in cup final" --sae 12 --html layers.html""",
    "monitor make": """
hooke monitor make labelled.jsonl --by kind --kind clickbait --out clickbait.json""",
    "monitor run": """
hooke monitor run clickbait.json headlines.txt
hooke monitor run clickbait.json - --field title < stream.jsonl""",
    "notes": """
hooke notes
hooke notes --export notes.json""",
    "open": """
hooke open 12/54""",
    "plan": """
hooke plan --site resid_post.12 --tokens 20M --d-sae 4k --d-sae 16k
hooke plan --model google/gemma-2-2b --site resid_post.12 --tokens 1B --tflops 400 --devices 8""",
    "pull": """
hooke pull gemma-scope-2b-pt-res/layer_20/width_16k/canonical
hooke pull org/repo/layer_20 --revision main""",
    "saes": """
hooke saes
hooke saes --model gemma-2-2b --site resid_post.20 --width 16k""",
    "sample": """
hooke sample --tokens 2M --out sampled.jsonl.zst
hooke sample --tokens 1k --out few.jsonl --prompt "The bank" --temperature 0.7""",
    "search": """
hooke search inflation rates
hooke search '"interest rate"' --sae 12 --min-score 0.8
hooke search --starred""",
    "serve": """
hooke serve""",
    "steer": """
hooke steer 12/6604 --prompt "Yesterday in the city" --dose 0.5 --dose 1
hooke steer --for "goal, match, striker"
hooke steer 12/54 12/99 --prompt "The match" --kl 0.5 --html steered.html""",
    "topics": """
hooke topics headlines.txt --topics 20
hooke topics headlines.csv --column headline --json""",
    "train": """
hooke train suite.toml --out runs/suite
hooke train --site resid_post.12 --d-sae 4k --l0 50 --corpus news.jsonl --tokens 20M --out one""",
}
"""By command, one line each; a file's or a folder's name stands for yours."""


def epilogue(command: str) -> dict[str, str]:
    """What ends the help of a command, as an option of `cyclopts.App.command`; nothing for a group of commands."""
    return {"help_epilogue": f"Examples:\n\n```{EXAMPLES[command]}\n```"} if command in EXAMPLES else {}
