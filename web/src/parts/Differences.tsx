// What a comparison found: what could be seen, what differs either way, beside plain words, and what else may explain it.
import { useSignal } from "@preact/signals";
import { api, exported, type Problem } from "../api/client";
import type { Compared, Finding, Side } from "../api/types";
import * as reading from "../state/reading";
import { go } from "../state/router";
import { clean, number, percent } from "../state/words";
import { Choice, Elsewhere } from "./Bits";
import { Shown } from "./Text";

const FEW = 8;
const LISTS = [
  ["What they are about", (one: Finding) => one.kind === "feature" && one.group === "about"],
  ["How they are worded", (one: Finding) => one.kind === "feature" && one.group !== "about"],
  ["Topics", (one: Finding) => one.kind === "topic"],
] as const;

export function Differences({ found }: { found: Compared }) {
  const which = useSignal(0);
  const table = useSignal(false);
  const pairs = found.sides.filter((_, i) => i % 2 === 0);
  const { result } = found;
  return (
    <div class="differences">
      {found.sides.length === 2 && <InShort sides={found.sides} />}
      <p class="able">{found.able}</p>
      {found.summary.map((sentence) => <p key={sentence}>{sentence}</p>)}
      {result.notes.map((note) => <p key={note} class="soft small">{note}</p>)}
      <div class="bar-row small">
        <div class="actions">
          {pairs.length > 1 && <Choice name="Which group" value={String(which.value)} options={pairs.map((side, i) => [String(i), clean(side.name)] as const)} onChange={(value) => (which.value = Number(value))} />}
          {result.findings.length > 0 && <Choice name="How findings are shown" value={table.value ? "table" : "plot"} options={[["plot", "as a plot"], ["table", "as a table"]]} onChange={(value) => (table.value = value === "table")} />}
        </div>
        <div class="actions"><a href={exported(found.id, "html")} download="differences.html">keep as a page</a><a href={exported(found.id, "csv")} download="differences.csv">as CSV</a></div>
      </div>
      {result.findings.length > 0 && !table.value && <p class="soft small marks"><Key weak={false} /> difference with its 95 % interval · <Key weak /> goes away with something else held fixed, or did not hold on the untouched half · <b class="beyond">+</b> says more than plain words do</p>}
      {found.sides.slice(2 * which.value, 2 * which.value + 2).map((side) => table.value ? <AsTable key={side.name} side={side} found={found} /> : <OneSide key={side.name} side={side} found={found} />)}
      <div class="halves">
        <Confounders found={found} />
        <Baselines found={found} />
      </div>
      <section>
        <h2>What this does not say</h2>
        <ul class="small soft">{result.limits.map((line) => <li key={line}>{line}</li>)}</ul>
        <details class="small"><summary class="soft">how it was made</summary><dl class="figures">{Object.entries(result.made).map(([key, value]) => <div key={key}><dt>{key}</dt><dd><code>{typeof value === "string" ? value : JSON.stringify(value)}</code></dd></div>)}</dl></details>
        <Elsewhere command={found.command} json={() => ({ schema_version: found.schema_version, ...result })} />
      </section>
    </div>
  );
}

/** What each of two piles has more of, in the names of its first findings. */
function InShort({ sides }: { sides: Side[] }) {
  const said = sides.map((side) => [side.name, side.findings.filter((one) => one.kind === "feature").slice(0, 3).map((one) => clean(one.name))] as const).filter(([, names]) => names.length);
  return said.length ? <p class="in-short">{said.map(([name, names]) => <span key={name}><b><bdi>{clean(name)}</bdi></b> has more of {names.join(", ")}. </span>)}</p> : null;
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

function List({ title, own, found, slim = false }: { title: string; own: Finding[]; found: Compared; slim?: boolean }) {
  const all = useSignal(false);
  return (
    <div class={`forest-list${slim ? " slim" : ""}`}>
      <div class="forest-row head small soft" aria-hidden="true"><h3>{title}</h3>{!slim && <span>of texts</span>}<span class="ticks"><span>0</span><span>+50</span><span>+100</span></span><span>points</span></div>
      {own.slice(0, all.value ? own.length : FEW).map((one) => <Row key={one.kind + one.feature} one={one} found={found} slim={slim} />)}
      {own.length > FEW && <button type="button" class="quiet small" aria-expanded={all.value} onClick={() => (all.value = !all.value)}>{all.value ? "show fewer" : `show all ${own.length}`}</button>}
    </div>
  );
}

function isWeak(one: Finding): boolean {
  return one.replicated === false || Object.values(one.holds).includes(false);
}

/** The share of texts that have it in either of the two that are held against each other; of several groups together, by their sizes. */
function shares(one: Finding, found: Compared): [string, number][] {
  return ([[one.a, one.b], [one.b, one.a]] as const).map(([name, other]) => {
    if (name in one.groups) return [name, one.groups[name]!];
    const rest = found.result.groups.filter((group) => group.name !== other);
    const texts = rest.reduce((sum, group) => sum + Number(group.texts), 0);
    return [name, rest.reduce((sum, group) => sum + Number(group.texts) * one.groups[String(group.name)]!, 0) / texts];
  });
}

function Row({ one, found, slim }: { one: Finding; found: Compared; slim: boolean }) {
  const [first, second] = shares(one, found);
  return (
    <details class="finding">
      <summary class="forest-row">
        <span class="name"><bdi>{clean(one.name)}</bdi>{one.beyond_words && <b class="beyond" title="says more than plain words do"> +</b>}</span>
        {!slim && <span class="small soft nowrap"><span class="vh">Share of texts: </span>{percent(first![1])} · {percent(second![1])}</span>}
        <Forest one={one} />
        <span class="small nowrap">{slim ? points(one.effect) : effect(one)}</span>
      </summary>
      <Opened one={one} found={found} />
    </details>
  );
}

const LEAST = -0.1;
const x = (value: number): number => (100 * (Math.max(LEAST, Math.min(1, value)) - LEAST)) / (1 - LEAST);

function Forest({ one }: { one: Finding }) {
  return (
    <span class={`forest${isWeak(one) ? " weak" : ""}`} role="img" aria-label={`difference ${effect(one)} points`}>
      <span class="zero" style={{ left: `${x(0)}%` }} />
      <span class="span" style={{ left: `${x(one.low)}%`, width: `${x(one.high) - x(one.low)}%` }} />
      <span class="dot" style={{ left: `${x(one.effect)}%` }} />
    </span>
  );
}

function Key({ weak }: { weak: boolean }) {
  return <span class={`forest key${weak ? " weak" : ""}`} aria-hidden="true"><span class="span" style={{ left: "5%", width: "90%" }} /><span class="dot" style={{ left: "50%" }} /></span>;
}

function Opened({ one, found }: { one: Finding; found: Compared }) {
  const shown = useSignal(!one.sensitive);
  const weak = Object.entries(one.holds).filter(([, holds]) => holds === false).map(([name]) => name);
  const facts = [
    shares(one, found).map(([name, value]) => `${clean(name)} ${percent(value)}`).join(", "), `q ${q(one.q)}`, `chance that fresh texts show it again: ${percent(one.again)}`, `on the untouched half: ${held(one)}`, `AUC ${one.auc.toFixed(2)}`,
    one.log_odds !== null && `log-odds ${one.log_odds.toFixed(2).replace("-", "−")}`, one.usual && "most texts have it, so counted are those with more of it than the median text",
    weak.length > 0 && `goes away with ${weak.join(", ")} held fixed`, one.sensitive && "a feature describes text, not people",
  ].filter(Boolean);
  const groups = [...new Set((one.excerpts ?? []).map((piece) => piece.group))];
  return (
    <div class="opened">
      <p class="small soft">{facts.join(" · ")}</p>
      {one.kind === "feature" && <p class="small"><a href={`/f/${one.feature}`}>the feature itself</a> <span class="soft">{one.score === null ? "nobody tried its name" : `its name scores ${one.score!.toFixed(2)}; 0.5 is chance`}</span></p>}
      {!shown.value && <button type="button" onClick={() => (shown.value = true)}>Show the texts: they may offend, or speak of private matters</button>}
      {shown.value && groups.map((group) => (
        <div key={group}>
          <h4 class="small soft"><bdi>{clean(group)}</bdi></h4>
          <ul>{(one.excerpts ?? []).filter((piece) => piece.group === group).map((piece) => (
            <li key={piece.text} class="passage small" dir="auto"><Shown text={piece.before} /><mark><Shown text={piece.token} /></mark><Shown text={piece.after} /> <Whole found={found} text={piece.text} /></li>
          ))}</ul>
        </div>
      ))}
    </div>
  );
}

/** Opens the whole text on the page that reads it. */
function Whole({ found, text }: { found: Compared; text: number }) {
  const lost = useSignal<string | null>(null);
  const open = () => api.behind(found.id, text).then(
    (whole) => { reading.byLine.value = false; reading.text.value = whole.text; go("/"); },
    (error: Problem) => (lost.value = error.message),
  );
  return lost.value ? <span class="soft">{lost.value}</span> : <button type="button" class="quiet small" aria-label="read it, the whole text on its own" onClick={() => void open()}>read it</button>;
}

function AsTable({ side, found }: { side: Side; found: Compared }) {
  const names = found.result.groups.map((group) => String(group.name));
  return (
    <section>
      <h2 class="more-in">More often in <bdi>{clean(side.name)}</bdi> <span class="soft">than in <bdi>{clean(side.other)}</bdi></span></h2>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Findings: more often in ${clean(side.name)}`}>
        <table class="findings small">
          <thead><tr><th scope="col">what</th><th scope="col">kind</th>{names.map((name) => <th key={name} scope="col"><bdi>{clean(name)}</bdi></th>)}<th scope="col">points</th><th scope="col">95 %</th><th scope="col">q</th><th scope="col">other half</th><th scope="col">goes away with</th></tr></thead>
          <tbody>{side.findings.map((one) => (
            <tr key={one.kind + one.feature}>
              <th scope="row"><bdi>{clean(one.name)}</bdi>{one.beyond_words && <b class="beyond"> +</b>}</th><td>{one.kind === "feature" ? (one.group === "about" ? "about" : "wording") : one.kind}</td>
              {names.map((name) => <td key={name}>{percent(one.groups[name])}</td>)}<td>{points(one.effect)}</td><td class="nowrap">{points(one.low)} to {points(one.high)}</td><td>{q(one.q)}</td><td>{held(one)}</td>
              <td>{Object.entries(one.holds).filter(([, holds]) => holds === false).map(([name]) => name).join(", ")}</td>
            </tr>
          ))}</tbody>
        </table>
      </div>
    </section>
  );
}

function Confounders({ found }: { found: Compared }) {
  return (
    <section>
      <h2>What else may explain it</h2>
      <ul class="related">{found.result.confounders.map((one) => (
        <li key={one.name}><span><b>{one.name}</b> <span class="small">{Object.entries(one.groups).map(([name, value]) => `${clean(name)} ${one.unit === "share" ? percent(value) : number(Number(value.toFixed(1)))}`).join(", ")}</span></span>
          <span class="soft small">{one.kept === null ? "cannot be told apart" : `${one.kept} of ${one.of} stay`}</span><span class="small soft said">{one.said}</span></li>
      ))}</ul>
    </section>
  );
}

function Baselines({ found }: { found: Compared }) {
  const place = (value: number) => `${100 * Math.max(0, Math.min(1, value))}%`;
  return (
    <section>
      <h2>Other ways of reading</h2>
      <p class="small soft">How well each tells the texts apart, learnt on one half, tried on the other. 0.5 is chance, 1 is always right.</p>
      <table class="aucs"><thead class="vh"><tr><th scope="col">read by</th><th scope="col">AUC</th></tr></thead><tbody>{Object.entries(found.result.baselines).map(([name, row]) => (
        <tr key={name}><th scope="row">{name}</th><td><span class="nowrap">{row.auc!.toFixed(2)}{row.low !== undefined && <span class="soft small"> {row.low.toFixed(2)} to {row.high!.toFixed(2)}</span>}</span>
          <span class="forest" aria-hidden="true"><span class="zero" style={{ left: "50%" }} />{row.low !== undefined && <span class="span" style={{ left: place(row.low), width: `calc(${place(row.high!)} - ${place(row.low)})` }} />}<span class="dot" style={{ left: place(row.auc!) }} /></span></td></tr>
      ))}</tbody></table>
    </section>
  );
}

function held(one: Finding): string {
  return one.replicated === null ? "not tried" : one.replicated ? "held" : "did not hold";
}

/** Hundredths with a sign. */
function points(value: number): string {
  const text = Math.abs(value) >= 0.0095 ? Math.abs(100 * value).toFixed(0) : Math.abs(100 * value).toFixed(1);
  return (value > 0 ? "+" : value < 0 ? "−" : "") + text;
}

function effect(one: Finding): string {
  return `${points(one.effect)} [${points(one.low)}, ${points(one.high)}]`;
}

function q(value: number): string {
  return value < 0.001 ? "< 0.001" : String(Number(value.toPrecision(2)));
}
