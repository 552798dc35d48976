// What a feature makes the model say: measured where it was, and by the direct way to the logits.
import type { DoseEffect, FeatureHead, Moved } from "../api/types";
import { number, percent, spelt } from "../state/words";
import { DoseCurve } from "./DoseCurve";

const KINDS: Record<string, string> = {
  reads: "Reads: its name tells where it fires. It hardly writes: the words it raises gain no more than words do under a random step as long.",
  writes: "Writes: it puts words of its own in; no name tells where it fires.",
  both: "Reads and writes: its name tells where it fires, and it puts words of its own in.",
  unclear: "Unclear: no name tells where it fires, and it hardly writes: the words it raises gain no more than words do under a random step as long.",
};

export function Writes({ head }: { head: FeatureHead }) {
  const { promoted = [], suppressed = [], effect } = head.feature;
  if (!effect && !promoted.length && !suppressed.length) return null;
  const lists = <><Tokens title="likelier" of={promoted} /><Tokens title="less likely" of={suppressed} /><p class="small soft">Direct effect only; later layers can undo it.</p></>;
  return (
    <section>
      <h2>What it makes the model say next</h2>
      {effect ? <Measured doses={effect.doses} kind={head.kind} /> : <><p class="small">Nobody measured it (<code>hooke atlas effects</code> does). By its direction alone:</p>{lists}</>}
      {effect && promoted.length > 0 && <details><summary class="small soft">by the direct way to the output (logit lens)</summary>{lists}</details>}
    </section>
  );
}

function Tokens({ title, of }: { title: string; of: { text: string; weight: number | null }[] }) {
  if (!of.length) return null;
  return (
    <>
      <h3>{title}</h3>
      <p class="chips">{of.slice(0, 12).map((token, i) => <bdi key={i} class="word" title={token.weight === null ? "" : number(token.weight)}>{spelt(token.text)}</bdi>)}</p>
    </>
  );
}

/** A probability; what is next to nothing as such. */
function chance(share: number): string {
  return share < 1e-5 ? "< 0.001 %" : percent(share);
}

/** 1 or -1 where contexts that did not choose a word agree that it is likelier or less likely, as `DoseEffect.held` says; else 0. */
function surely({ rise, before, after }: Moved): number {
  return rise.low > 0 && after > before ? 1 : rise.high < 0 && after < before ? -1 : 0;
}

/** The measured effect at the feature's own maximum, and how it grows with the dose. */
function Measured({ doses, kind }: { doses: DoseEffect[]; kind: string | null }) {
  const full = doses.reduce((best, one) => (Math.abs(one.dose - 1) < Math.abs(best.dose - 1) ? one : best));
  const rows = [...full.raised.filter((one) => surely(one) > 0), ...full.lowered.filter((one) => surely(one) < 0)];
  const table = rows.length > 0 && (
    <table class="small effect">
      <thead><tr><th scope="col">next word</th><th scope="col">without</th><th scope="col">with it</th></tr></thead>
      <tbody>{rows.map((one, i) => <tr key={i} class={one.after < one.before ? "soft" : ""}><td><bdi>{spelt(one.text)}</bdi></td><td>{chance(one.before)}</td><td>{chance(one.after)}</td></tr>)}</tbody>
    </table>
  );
  const said = (
    <p class="small soft">Measured: added {full.dose === 1 ? "at its strongest" : `at ${number(full.dose)} times its strongest`} to the last word of neutral texts, it moves what comes next by {number(full.kl.mean)} nats
      [{number(full.kl.low)}, {number(full.kl.high)}]. A random step as long moves it by {number(full.kl_random[0])}, one in twenty by {number(full.kl_random[1])}.</p>
  );
  // What does no more than a random step has no words worth reading.
  if (kind === "reads" || kind === "unclear") {
    return <><p class="small">{KINDS[kind]}</p>{said}<details><summary class="small soft">{table && "the words that moved, and "}by dose</summary>{table}{doses.length > 1 && <Doses doses={doses} />}</details></>;
  }
  return <>{kind && <p class="small">{KINDS[kind] ?? kind}</p>}{table}{said}{doses.length > 1 && <Doses doses={doses} />}</>;
}

function Doses({ doses }: { doses: DoseEffect[] }) {
  return (
    <DoseCurve points={doses.map((one) => ({ dose: one.dose, value: one.kl.mean, chance: one.kl_random[1] }))} most={Math.max(...doses.map((one) => one.kl.high))}
      label="How far it moves what comes next, by dose, above what random steps do" chance="dose; grey: one random step in twenty" table={
        <table><thead><tr><th scope="col">dose</th><th scope="col">nats</th><th scope="col">random, half</th><th scope="col">one in twenty</th></tr></thead>
          <tbody>{doses.map((one) => <tr key={one.dose}><td>{number(one.dose)}</td><td>{number(one.kl.mean)}</td><td>{number(one.kl_random[0])}</td><td>{number(one.kl_random[1])}</td></tr>)}</tbody></table>
      } />
  );
}
