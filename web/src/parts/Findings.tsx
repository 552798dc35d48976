// Single differences between piles of texts: a row each with its interval, and what stands behind it.
import { useSignal } from "@preact/signals";
import { api, type Problem } from "../api/client";
import type { Compared, Finding, Side } from "../api/types";
import * as reading from "../state/reading";
import { go } from "../state/router";
import { clean, percent } from "../state/words";
import { Veil } from "./Bits";
import { Shown } from "./Text";

const FEW = 8;

/** Findings, a row each; the first `few` of them until all are asked for. */
export function List({ title, own, found, slim = false, unsure = false, few = FEW }: { title: string; own: Finding[]; found: Compared; slim?: boolean; unsure?: boolean; few?: number }) {
  const all = useSignal(false);
  return (
    <div class={`forest-list${slim ? " slim" : ""}`}>
      <div class="forest-row head small soft" aria-hidden="true"><h3>{title}</h3>{!slim && <span>of texts<br />here · there</span>}<span class="ticks"><span>0</span><span>+50</span><span>+100</span></span><span>points</span></div>
      {own.slice(0, all.value ? own.length : few).map((one) => <Row key={one.kind + one.feature} one={one} found={found} slim={slim} weak={unsure || isWeak(one)} />)}
      {own.length > few && <button type="button" class="quiet small" aria-expanded={all.value} onClick={() => (all.value = !all.value)}>{all.value ? "show fewer" : `show all ${own.length}`}</button>}
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

function Row({ one, found, slim, weak }: { one: Finding; found: Compared; slim: boolean; weak: boolean }) {
  const [first, second] = shares(one, found);
  return (
    <details class="finding">
      <summary class="forest-row">
        <span class="name"><bdi>{clean(one.name)}</bdi>{one.beyond_words && <b class="beyond" title="says more than plain words do">{"\u00a0"}+</b>}</span>
        {!slim && <span class="small soft nowrap"><span class="vh">Share of texts: </span>{percent(first![1])} · {percent(second![1])}</span>}
        <Forest one={one} weak={weak} />
        <span class="small nowrap">{points(one.effect)}{!slim && <span class="interval soft"> {interval(one)}</span>}</span>
      </summary>
      <Opened one={one} found={found} />
    </details>
  );
}

const LEAST = -0.1;
const x = (value: number): number => (100 * (Math.max(LEAST, Math.min(1, value)) - LEAST)) / (1 - LEAST);

function Forest({ one, weak }: { one: Finding; weak: boolean }) {
  return (
    <span class={`forest${weak ? " weak" : ""}`} role="img" aria-label={`difference ${points(one.effect)} ${interval(one)} points`}>
      <span class="zero" style={{ left: `${x(0)}%` }} />
      <span class="span" style={{ left: `${x(one.low)}%`, width: `${x(one.high) - x(one.low)}%` }} />
      <span class="dot" style={{ left: `${x(one.effect)}%` }} />
    </span>
  );
}

export function Key({ weak }: { weak: boolean }) {
  return <span class={`forest key${weak ? " weak" : ""}`} aria-hidden="true"><span class="span" style={{ left: "5%", width: "90%" }} /><span class="dot" style={{ left: "50%" }} /></span>;
}

function Opened({ one, found }: { one: Finding; found: Compared }) {
  const shown = useSignal(!one.sensitive);
  const weak = Object.entries(one.holds).filter(([, holds]) => holds === false).map(([name]) => name);
  const facts = [
    shares(one, found).map(([name, value]) => `${clean(name)} ${percent(value)}`).join(", "), `q ${q(one.q)}, the share of chance among findings as clear as this`, `chance that fresh texts show it again: ${percent(one.again)}`, `on the untouched half: ${held(one)}`, `it ranks a text of the one above one of the other ${percent(Math.max(one.auc, 1 - one.auc))} of the time (AUC)`,
    one.log_odds !== null && `log-odds ${one.log_odds.toFixed(2).replace("-", "−")}`, counted(one),
    weak.length > 0 && `goes away with ${weak.join(", ")} held fixed`,
  ].filter(Boolean);
  const groups = [...new Set((one.excerpts ?? []).map((piece) => piece.group))];
  return (
    <div class="opened">
      <p class="small soft">{facts.join(" · ")}</p>
      {one.kind === "feature" && <p class="small"><a href={`/f/${one.feature}`}>the feature itself</a> <span class="soft">{one.rated}</span></p>}
      {!shown.value && <Veil show={() => (shown.value = true)} />}
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

/** What it means that a text has it. */
function counted(one: Finding): string {
  if (one.kind !== "feature") return one.kind === "topic" ? "counted are texts on this topic" : "counted are texts with this word";
  if (one.by_name) return "counted are texts of which the name is more likely right than not";
  return one.usual ? "it fires in most texts, so counted are those where it is stronger than in the median text" : "counted are texts in which it fires, however weakly";
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

export function AsTable({ side, found }: { side: Side; found: Compared }) {
  const names = found.result.groups.map((group) => String(group.name));
  return (
    <section>
      <h2 class="more-in">More often in <bdi>{clean(side.name)}</bdi> <span class="soft">than in <bdi>{clean(side.other)}</bdi></span></h2>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Findings: more often in ${clean(side.name)}`}>
        <table class="findings small">
          <thead><tr><th scope="col">what</th><th scope="col">kind</th>{names.map((name) => <th key={name} scope="col"><bdi>{clean(name)}</bdi></th>)}<th scope="col">points</th><th scope="col">95 %</th><th scope="col">q</th><th scope="col">other half</th><th scope="col">goes away with</th></tr></thead>
          <tbody>{side.findings.map((one) => (
            <tr key={one.kind + one.feature}>
              <th scope="row"><bdi>{clean(one.name)}</bdi>{one.beyond_words && <b class="beyond">{"\u00a0"}+</b>}</th><td>{one.kind === "feature" ? (one.group === "about" ? "about" : "wording") : one.kind}</td>
              {names.map((name) => <td key={name}>{percent(one.groups[name])}</td>)}<td>{points(one.effect)}</td><td class="nowrap">{points(one.low)} to {points(one.high)}</td><td>{q(one.q)}</td><td>{held(one)}</td>
              <td>{Object.entries(one.holds).filter(([, holds]) => holds === false).map(([name]) => name).join(", ")}</td>
            </tr>
          ))}</tbody>
        </table>
      </div>
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

function interval(one: Finding): string {
  return `[${points(one.low)}, ${points(one.high)}]`;
}

function q(value: number): string {
  return value < 0.001 ? "< 0.001" : String(Number(value.toPrecision(2)));
}
