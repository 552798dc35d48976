// What a comparison found: in a sentence, the strongest differences either way, and folded beneath them how sure that is and what else may explain it.
import { useSignal } from "@preact/signals";
import { exported } from "../api/client";
import type { Compared, Finding, Side } from "../api/types";
import { clean, number, percent } from "../state/words";
import { Choice, Elsewhere } from "./Bits";
import { AsTable, Key, List } from "./Findings";

/** The ways of reading, as people would call them. */
const WAYS: Record<string, string> = {
  "words (log-odds)": "plain words", "activations (probe)": "the model's activations", "features (probe)": "all features", "sentence encoder (probe)": "a sentence encoder",
};
const way = (name: string): string => WAYS[name] ?? name;
const hundredths = (share: number): string => (100 * share).toFixed(0);
/** Rows of each side that are shown unasked. */
const BEST = 5;
const LISTS = [
  ["What they are about", (one: Finding) => one.kind === "feature" && one.group === "about"],
  ["How they are worded", (one: Finding) => one.kind === "feature" && one.group !== "about"],
  ["Topics", (one: Finding) => one.kind === "topic"],
] as const;

export function Differences({ found }: { found: Compared }) {
  const which = useSignal(0);
  const pairs = found.sides.filter((_, i) => i % 2 === 0);
  const { result } = found;
  const sides = found.sides.slice(2 * which.value, 2 * which.value + 2);
  return (
    <div class="differences">
      {result.findings.length > 0 && <p class="able">{found.able}</p>}
      {found.in_short.length > 0 && <InShort found={found} />}
      <p>{result.findings.length
        ? `Of ${number(result.tested)} things tried ${number(result.findings.length)} differ by more than chance lets expect. About one in twenty of those, at most, may still be chance.`
        : found.summary[0]}</p>
      {!result.findings.length && found.summary.slice(1).map((sentence) => <p key={sentence}>{sentence}</p>)}
      <div class="bar-row small">
        <div class="actions">
          {pairs.length > 1 && <Choice name="Which group" value={String(which.value)} options={pairs.map((side, i) => [String(i), clean(side.name)] as const)} onChange={(value) => (which.value = Number(value))} />}
          {result.findings.length > 0 && <p class="soft marks"><Key weak={false} /> difference, in points: so many more of 100 texts; the line is its 95 % interval · <Key weak /> doubtful: see “how sure is this?” · <b class="beyond">+</b> says more than plain words do</p>}
        </div>
        <div class="actions"><a href={exported(found.id, "html")} download="differences.html">keep as a page</a><a href={exported(found.id, "csv")} download="differences.csv">as CSV</a></div>
      </div>
      <div class="sides">{sides.map((side) => <Best key={side.name} side={side} found={found} />)}</div>
      {found.nearest.length > 0 && <Nearest found={found} />}
      <div class="folds">
        {result.findings.length > 0 && <Everything sides={sides} found={found} />}
        <details>
          <summary>How sure is this?</summary>
          {result.findings.length > 0 && found.summary.map((sentence) => <p key={sentence}>{sentence}</p>)}
          {result.findings.length > 0 && <p><Key weak /> A hollow mark: the difference goes away with something else held fixed, or it was found in one half of the texts and did not hold in the other.</p>}
          {result.notes.map((note) => <p key={note} class="soft small">{note}</p>)}
        </details>
        <Confounders found={found} />
        <Baselines found={found} />
        <details><summary>How it was made</summary><dl class="figures small">{Object.entries(result.made).map(([key, value]) => <div key={key}><dt>{key}</dt><dd><code>{typeof value === "string" ? value : JSON.stringify(value)}</code></dd></div>)}</dl></details>
      </div>
      <section>
        <h2>What this does not say</h2>
        <ul class="small soft">{result.limits.map((line) => <li key={line}>{line}</li>)}</ul>
        <Elsewhere command={found.command} json={() => ({ schema_version: found.schema_version, ...result })} />
      </section>
    </div>
  );
}

/** What each pile has more of, by names that are mostly right of the texts behind them. */
function InShort({ found }: { found: Compared }) {
  return <p class="in-short">{found.in_short.map((one) => <span key={one.group + one.lead}><b><bdi>{clean(one.group)}</bdi></b> {one.lead} {one.said.map(clean).join("; ")}. </span>)}</p>;
}

/** The strongest few of one side, of whatever kind but plain words. */
function Best({ side, found }: { side: Side; found: Compared }) {
  const own = side.findings.filter((one) => one.kind !== "word").sort((a, b) => Number(b.meant) - Number(a.meant) || b.effect - a.effect).slice(0, BEST);
  return (
    <section>
      <h2 class="more-in">More often in <bdi>{clean(side.name)}</bdi></h2>
      {own.length ? <List title="what has a sure name, then the strongest" own={own} found={found} few={BEST} /> : <p class="soft">No feature or topic stands out.</p>}
    </section>
  );
}

/** Where nothing was found, what comes nearest to it, every mark hollow. */
function Nearest({ found }: { found: Compared }) {
  return (
    <section class="nearest">
      <h2>What comes nearest to a difference</h2>
      <p class="small"><Key weak /> None of these counts as a difference: of so many things tried, some lean as far by chance alone.</p>
      <div class="sides">{found.nearest.filter((side) => side.findings.length).map((side) => (
        <div key={side.name + side.other}><h3 class="more-in">Leaning to <bdi>{clean(side.name)}</bdi></h3><List title="least by chance first" own={side.findings} found={found} unsure /></div>
      ))}</div>
    </section>
  );
}

/** All that was found, by kind and beside plain words; or as a table. */
function Everything({ sides, found }: { sides: Side[]; found: Compared }) {
  const table = useSignal(false);
  const [shown, all] = [sides.reduce((sum, side) => sum + side.findings.length, 0), sides.reduce((sum, side) => sum + side.total, 0)];
  return (
    <details class="everything">
      <summary>By kind, and beside plain words: {shown < all ? `${number(shown)} of ${number(all)}` : `all ${number(all)}`} differences{shown < all && <span class="soft small"> the others are in much the same texts as these</span>}</summary>
      <Choice name="How findings are shown" value={table.value ? "table" : "plot"} options={[["plot", "as a plot"], ["table", "as a table"]]} onChange={(value) => (table.value = value === "table")} />
      {sides.map((side) => table.value ? <AsTable key={side.name} side={side} found={found} /> : <OneSide key={side.name} side={side} found={found} />)}
    </details>
  );
}

function OneSide({ side, found }: { side: Side; found: Compared }) {
  const words = side.findings.filter((one) => one.kind === "word");
  const lists = LISTS.map(([title, belongs]) => [title, side.findings.filter(belongs)] as const).filter(([, own]) => own.length);
  return (
    <section class="one-side">
      <h2 class="more-in">More often in <bdi>{clean(side.name)}</bdi> <span class="soft">than in <bdi>{clean(side.other)}</bdi></span></h2>
      <div class="beside-words">
        <div>
          {lists.length === 0 && <p class="soft">No feature or topic stands out.</p>}
          {lists.map(([title, own]) => <List key={title} title={title} own={own} found={found} />)}
          {side.total > side.findings.length && <p class="soft small">{number(side.total - side.findings.length)} more are found in much the same texts as these; the CSV and the JSON have them all.</p>}
        </div>
        <div>{words.length > 0 ? <List title="Plain words" own={words} found={found} slim /> : <><h3>Plain words</h3><p class="soft small">None stands out.</p></>}</div>
      </div>
    </section>
  );
}

function Confounders({ found }: { found: Compared }) {
  const tried = found.result.confounders.filter((one) => one.kept !== null && one.of);
  const worst = tried.sort((a, b) => a.kept! / a.of! - b.kept! / b.of!)[0];
  const stay = worst ? `at worst, with ${worst.name} held fixed, ${worst.kept} of ${worst.of} stay` : "";
  return (
    <details>
      <summary>What else may explain it? <span class="soft small">{stay}</span></summary>
      <ul class="related">{found.result.confounders.map((one) => (
        <li key={one.name}><span><b>{one.name}</b> <span class="small">{Object.entries(one.groups).map(([name, value]) => `${clean(name)} ${one.unit === "share" ? percent(value) : number(Number(value.toFixed(1)))}`).join(", ")}</span></span>
          <span class="soft small">{one.kept === null ? "cannot be told apart" : `${one.kept} of ${one.of} stay`}</span><span class="small soft said">{one.said}</span></li>
      ))}</ul>
    </details>
  );
}

function Baselines({ found }: { found: Compared }) {
  const place = (value: number) => `${100 * Math.max(0, Math.min(1, value))}%`;
  return (
    <details>
      <summary>Would plain words do? <span class="soft small">of 100 pairs told apart: {Object.entries(found.result.baselines).map(([name, row]) => `${way(name)} ${hundredths(row.auc!)}`).join(" · ")}; a coin 50</span></summary>
      <p class="small soft">How well each tells the texts apart, learnt on one half, tried on the other: of 100 pairs of texts, one of each group, so many are told apart rightly (the AUC, times 100). Tossing a coin gets 50.</p>
      <table class="aucs"><thead class="vh"><tr><th scope="col">read by</th><th scope="col">pairs of 100</th></tr></thead><tbody>{Object.entries(found.result.baselines).map(([name, row]) => (
        <tr key={name}><th scope="row">{way(name)}</th><td><span class="nowrap">{hundredths(row.auc!)} of 100{row.low !== undefined && <span class="soft small"> {hundredths(row.low)} to {hundredths(row.high!)}</span>}</span>
          <span class="forest" aria-hidden="true"><span class="zero" style={{ left: "50%" }} />{row.low !== undefined && <span class="span" style={{ left: place(row.low), width: `calc(${place(row.high!)} - ${place(row.low)})` }} />}<span class="dot" style={{ left: place(row.auc!) }} /></span></td></tr>
      ))}</tbody></table>
    </details>
  );
}
