// Texts that were written side by side: by the model itself, with features turned, and with controls turned as far.
import type { Arm, Position, Steering } from "../api/types";
import { felt } from "../state/steering";
import { layerOf, number, parted, percent, spelt, step } from "../state/words";
import { DoseCurve } from "./DoseCurve";
import { Label, Shown } from "./Text";

/** Nats at which a word takes the full tint, and below which it takes none. */
const FULL = 2, FAINT = 0.1;
/** What a text looks like that is no longer one: nats a token, share of pairs of words that repeat. */
export const ODD = 6;
const UNUSUAL = 4;
const REPEATS = 0.3;
const KINDS = { clean: "The model by itself", steered: "Turned", random: "Control, turned as far", prompted: "Asked for in words instead" } as const;

export function Arms({ prompt, arms, done, positions }: { prompt: string; arms: readonly Arm[]; done: Steering | null; positions: readonly Position[] }) {
  const dosed = arms.filter((arm) => arm.kind === "steered" && arm.kl);
  return (
    <>
      <div class={`arms${arms.filter((arm) => arm.kind === "steered").length <= 1 ? " four" : ""}`}>{[...arms, ...awaited(arms, done)].map((arm) => <One key={`${arm.kind} ${arm.dose}`} prompt={prompt} arm={arm} done={done} writes={altered(arm) || arms.length < 2} first={positions.length} verdict={done && verdict(arm, arms)} />)}</div>
      {done && (
        <>
          <p class="legend small soft">
            <span>tint: how far turning changed what was to come at that word, from a little to as far as text holds</span>
            <span class="scale nats" aria-hidden="true">{[1, 2, 3, 4, 5].map((s) => <span key={s} class={`s${s}`} title={`up to ${(FULL * s) / 5} nats`} />)}</span>
          </p>
          <p class="small soft">The control is {done.controls.map((name, i) => <>{i > 0 && ", "}<a href={`/f/${name}`}><Label text={done.titles[name]} /></a> (layer {layerOf(name)})</>)}: drawn by lot among features that fire as often, its step as long. Whatever the control does too is not the feature's own doing.</p>
          {dosed.length > 1 && (
            <section class="dosed">
              <h2>How far what comes next changes, by strength</h2>
              <DoseCurve points={dosed.map((arm) => ({ dose: arm.dose, value: mean(arm.kl), chance: mean(control(arms, arm.dose)?.kl) }))}
                label="How far the feature changes what comes next, by strength, above what the control does" chance="strength; grey: the control" table={<Compared arms={arms} />} />
            </section>
          )}
          {positions.length > 0 && <Where positions={positions} />}
          {dosed.length === 1 && <details><summary class="small soft">the figures as a table</summary><Compared arms={arms} /></details>}
        </>
      )}
    </>
  );
}

/** Texts that are not begun yet, so that their places are there. */
function awaited(arms: readonly Arm[], done: Steering | null): Arm[] {
  const kinds = new Set(arms.map((arm) => arm.kind));
  return done ? [] : (["steered", "random", "prompted"] as const).filter((kind) => !kinds.has(kind)).map((kind) => ({ kind, dose: 0, text: "" }));
}

/** Which positions are altered: all that is text, and nothing else. */
function Where({ positions }: { positions: readonly Position[] }) {
  return (
    <details class="where">
      <summary class="small soft">where it is added: {positions.filter((one) => one.altered).length} positions of the prompt, and every word written</summary>
      <ol class="chips" start={0}>{positions.map((one, i) => <li key={i} class={one.altered ? "word altered" : "word"}><span class="soft small">{i}</span> <bdi>{one.altered ? spelt(one.token) : "start of text, left as it is"}</bdi></li>)}<li class="word altered"><span class="soft small">from {positions.length} on</span> what is written</li></ol>
    </details>
  );
}

function control(arms: readonly Arm[], dose: number): Arm | undefined {
  return arms.find((arm) => arm.kind === "random" && arm.dose === dose);
}

function mean(values: readonly number[] | undefined): number {
  return values?.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;
}

/** Said under a text where turning the feature came to little. */
function verdict(arm: Arm, arms: readonly Arm[]): string {
  if (arm.kind !== "steered") return "";
  const other = control(arms, arm.dose);
  if (arm.text === arms.find((one) => one.kind === "clean")?.text) return "no visible effect: it is word for word what the model says by itself";
  if (mean(arm.kl) < FAINT / 2) return "hardly any effect: what comes next hardly changed, so that words differ by chance";
  if (arm.own_words != null && other?.own_words != null && arm.own_words <= other.own_words) return "no effect of its own: under the control the same words become as likely";
  return "";
}

function altered(arm: Arm): boolean {
  return arm.kind === "steered" || arm.kind === "random";
}

function One({ prompt, arm, done, writes, first, verdict }: { prompt: string; arm: Arm; done: Steering | null; writes: boolean; first: number; verdict: string | null }) {
  return (
    <section class={`arm ${arm.kind}`}>
      <h2>{KINDS[arm.kind]}{altered(arm) && arm.dose !== 0 && <span class="soft">, {number(Number(arm.dose.toPrecision(2)))}×</span>}{altered(arm) && <span class="tag">altered</span>}</h2>
      <p class="passage" dir="auto">
        <span class="soft"><Shown text={prompt} /></span>
        {arm.tokens ? arm.tokens.map((token, i) => <Word key={i} token={token} kl={arm.kl?.[i] ?? 0} />) : <Shown text={arm.text} />}
        {!done && !!arm.text && writes && <span class="caret" aria-hidden="true" />}{!done && !arm.text && <span class="soft">…</span>}
      </p>
      {verdict && <p class="small warning">{verdict}</p>}
      {done && <ul class="small soft">{figures(arm).map((line) => <li key={line}>{line}</li>)}{(arm.repetition ?? 0) > REPEATS && <li class="warning">it collapses into repeats: {percent(arm.repetition)} of its pairs of words stood there before</li>}</ul>}
      {done && altered(arm) && !!arm.kl?.length && (
        <details><summary class="small soft">word by word</summary>
          <table class="small effect"><thead><tr><th scope="col">word</th><th scope="col">position</th><th scope="col">changed by, nats</th></tr></thead>
            <tbody>{arm.tokens!.map((token, i) => <tr key={i}><td><bdi>{spelt(token)}</bdi></td><td>{first + i}</td><td>{arm.kl![i]!.toFixed(2)}</td></tr>)}</tbody></table>
        </details>
      )}
    </section>
  );
}

function Word({ token, kl }: { token: string; kl: number }) {
  const [spaces, bare] = parted(token);
  const tint = kl < FAINT ? 0 : step(Math.min(kl, FULL), FULL);
  return <>{spaces}{tint ? <span class={`s${tint}`} title={`${kl.toFixed(2)} nats`}><Shown text={bare} /></span> : <Shown text={bare} />}</>;
}

/** What it cost, in words. */
function figures(arm: Arm): string[] {
  const said: string[] = [];
  if (arm.kl?.length) said.push(arm.kl.some((value) => value > 0) ? `what comes next changes ${felt(mean(arm.kl))}` : "nothing altered");
  if (arm.own_words != null && arm.kind !== "clean") said.push(`the feature's own words ${times(arm.own_words)} as likely`);
  const odd = arm.loss_clean_model;
  if (odd != null) said.push(`to the unaltered model this is ${odd > ODD ? "hardly language" : odd > UNUSUAL ? "unusual text" : "ordinary text"}`);
  return said;
}

function times(rise: number): string {
  const factor = Math.exp(rise);
  return factor < 0.01 ? "less than a hundredth" : factor > 1000 ? "more than 1,000×" : `${number(Number(factor.toPrecision(2)))}×`;
}

/** Every arm in a row. */
function Compared({ arms }: { arms: readonly Arm[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of the texts' figures">
      <table class="small compared">
        <thead><tr><th scope="col">text</th><th scope="col">strength</th><th scope="col">what comes next changed, nats a word</th><th scope="col">own words</th><th scope="col">how odd to the unaltered model, nats a word</th><th scope="col">pairs that repeat</th></tr></thead>
        <tbody>{arms.map((arm) => (
          <tr key={`${arm.kind} ${arm.dose}`}>
            <th scope="row">{KINDS[arm.kind]}</th><td>{arm.dose ? number(arm.dose) : ""}</td><td>{arm.kl?.length ? mean(arm.kl).toFixed(2) : ""}</td>
            <td>{arm.own_words == null ? "" : times(arm.own_words)}</td><td>{arm.loss_clean_model?.toFixed(2) ?? ""}</td><td>{percent(arm.repetition)}</td>
          </tr>
        ))}</tbody>
      </table>
    </div>
  );
}
